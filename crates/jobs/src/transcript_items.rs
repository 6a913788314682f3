//! Stores and reads whole transcripts that are too long for the job item, as items of their own.
//!
//! `PK` `transcript#{jobId}`, `SK` `{userId}#{attempt}#{number}`, `messages` (one piece of the packed transcript),
//! `ExpiresAfter` (the job's). [`crate::transcript`] packs and unpacks. A transcript belongs to the attempt that
//! `transcriptOf` on the job item names; pieces of another attempt are never read.

use aws_kit::{number, text};
use aws_sdk_dynamodb::{
    operation::query::builders::QueryFluentBuilder,
    primitives::Blob,
    types::{AttributeValue, ConditionCheck, Put, TransactWriteItem},
};
use serde_json::Value;

use crate::{
    dynamodb::{HELD, JobTable, TransactionOutcome},
    error::JobError,
    items::partition,
    job::{Job, JobStatus},
    transcript,
};

impl JobTable {
    /// Stores a whole transcript of a job that is claimed under `attempt`. The transcript expires with the job.
    ///
    /// # Errors
    /// [`JobError::Lost`] if the job is claimed under another attempt, ended or deleted; [`JobError::Table`].
    pub(crate) async fn store_transcript(
        &self,
        job: &Job,
        attempt: u64,
        messages: &[Value],
    ) -> Result<(), JobError> {
        let failed = |reason: String| JobError::Table { table: self.table.clone(), verb: "written", reason };
        let pieces = transcript::pack(messages).map_err(|error| failed(error.to_string()))?;
        for (n, piece) in pieces.into_iter().enumerate() {
            let mut put = Put::builder()
                .table_name(&self.table)
                .item("PK", transcript_partition(&job.job_id))
                .item("SK", text(format!("{}#{attempt:06}#{n:06}", job.user_id)))
                .item("messages", AttributeValue::B(Blob::new(piece)));
            if let Some(expires_after) = job.expires_after {
                put = put.item("ExpiresAfter", number(expires_after));
            }
            let held = ConditionCheck::builder()
                .table_name(&self.table)
                .key("PK", partition(&job.user_id))
                .key("SK", text(&job.job_id))
                .condition_expression(HELD)
                .expression_attribute_names("#claimed", "status")
                .expression_attribute_values(":attempt", number(attempt))
                .expression_attribute_values(":claimed", text(JobStatus::Processing.as_str()));
            let held = TransactWriteItem::builder().set_condition_check(held.build().ok()).build();
            let put = TransactWriteItem::builder().set_put(put.build().ok()).build();
            if self.write_transaction(&[held, put]).await? == TransactionOutcome::Refused {
                return Err(JobError::Lost { job_id: job.job_id.clone() });
            }
        }
        Ok(())
    }

    /// Reads the whole transcript of a job. Returns `None` if the transcript on the job item is whole.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn stored_transcript(&self, job: &Job) -> Result<Option<Vec<Value>>, JobError> {
        // Without this attribute, any pieces are those of an attempt that was cut off while it wrote them.
        let Some(attempt) = job.transcript_of else { return Ok(None) };
        let failed = |reason: String| JobError::Table { table: self.table.clone(), verb: "read", reason };
        let query = self.pieces(&job.user_id, &job.job_id, Some(attempt));
        let mut items = query.into_paginator().items().send();
        let mut pieces = Vec::new();
        while let Some(item) = items.next().await {
            let item = item.map_err(|error| failed(aws_kit::reason(&error)))?;
            pieces.extend(item.get("messages").and_then(|piece| Some(piece.as_b().ok()?.as_ref().to_vec())));
        }
        if pieces.is_empty() {
            return Ok(None);
        }
        transcript::unpack(&pieces).map(Some).map_err(|error| failed(error.to_string()))
    }

    /// Returns a query for the pieces of a job's transcript, of one attempt or of all.
    pub(crate) fn pieces(&self, user_id: &str, job_id: &str, attempt: Option<u64>) -> QueryFluentBuilder {
        let attempt = attempt.map(|attempt| format!("{attempt:06}#")).unwrap_or_default();
        self.client
            .query()
            .table_name(&self.table)
            .key_condition_expression("PK = :pk AND begins_with(SK, :user)")
            .expression_attribute_values(":pk", transcript_partition(job_id))
            .expression_attribute_values(":user", text(format!("{user_id}#{attempt}")))
            .consistent_read(true)
    }
}

fn transcript_partition(job_id: &str) -> AttributeValue {
    text(format!("transcript#{job_id}"))
}
