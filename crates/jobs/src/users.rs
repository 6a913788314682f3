//! What a user does with their jobs: submit, read, list, delete.
//!
//! Every call names the user, whose id comes from a verified identity; another's job is not there for
//! them. Starts no run: whoever submits invokes the processor.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    error::ProvideErrorMetadata,
    types::{AttributeValue, Put, ReturnValue, TransactWriteItem},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    dynamodb::JobTable,
    error::JobError,
    items::{Item, job_of, number, partition, string, text_of},
    job::{Job, JobStatus, timestamp},
};

/// How long a repeated submission is known by its key: longer than any client goes on retrying.
const KEY_KEPT: SignedDuration = SignedDuration::from_hours(24);

/// A job to be submitted.
#[derive(Debug, Clone, Copy)]
pub struct Submission<'a> {
    /// Whose job it is.
    pub user_id: &'a str,
    /// A new id. UUIDv7s list newest first.
    pub job_id: &'a str,
    /// What is asked.
    pub query: &'a str,
    /// Whom.
    pub agent_ids: &'a [String],
    /// Two submissions of a user with one key are one job.
    pub idempotency_key: Option<&'a str>,
    /// How long the job is kept.
    pub kept: SignedDuration,
}

/// What became of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// A new job, pending.
    New(Job),
    /// The job that the same key has submitted before.
    Repeated(Job),
    /// The key has submitted something else before, or its job was deleted.
    KeyTaken,
}

/// Some of a user's jobs.
#[derive(Debug)]
pub struct Page {
    /// The jobs, by id downwards.
    pub jobs: Vec<Job>,
    /// The id to go on after, if there are more.
    pub next: Option<String>,
}

impl JobTable {
    /// Submits a job.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn submit(&self, submission: Submission<'_>, now: Timestamp) -> Result<Submitted, JobError> {
        let mut write =
            self.client.transact_write_items().transact_items(self.put(new_item(submission, now)));
        if let Some(key) = submission.idempotency_key {
            write = write.transact_items(self.put(key_item(submission, key, now)));
        }
        match (write.send().await, submission.idempotency_key) {
            (Ok(_), _) => {
                let item = new_item(submission, now);
                Ok(Submitted::New(job_of(submission.user_id, submission.job_id, &item)))
            }
            (Err(error), Some(key)) if error.code() == Some("TransactionCanceledException") => {
                self.repeated(submission, key).await
            }
            (Err(error), _) => Err(self.fault("written", error)),
        }
    }

    /// A user's job.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn get(&self, user_id: &str, job_id: &str) -> Result<Option<Job>, JobError> {
        let item = self.get_item(partition(user_id), job_id).await?;
        Ok(item.map(|item| job_of(user_id, job_id, &item)))
    }

    /// A user's jobs, at most `limit`, by id downwards from below `after`.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn list(&self, user_id: &str, limit: i32, after: Option<&str>) -> Result<Page, JobError> {
        let start = after.map(|after| {
            HashMap::from([("PK".to_owned(), partition(user_id)), ("SK".to_owned(), string(after))])
        });
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("PK = :pk")
            .expression_attribute_values(":pk", partition(user_id))
            .set_exclusive_start_key(start)
            .scan_index_forward(false)
            .limit(limit)
            .send()
            .await
            .map_err(|error| self.fault("read", error))?;
        let id_of = |item: &Item| text_of(item, "SK").unwrap_or_default();
        Ok(Page {
            jobs: answer.items().iter().map(|item| job_of(user_id, &id_of(item), item)).collect(),
            next: answer.last_evaluated_key().map(id_of),
        })
    }

    /// Deletes a user's job with its transcript; its run, if it has one, ends. Tells whether there was one.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn delete(&self, user_id: &str, job_id: &str) -> Result<bool, JobError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("PK", partition(user_id))
            .key("SK", string(job_id))
            .return_values(ReturnValue::AllOld)
            .send()
            .await
            .map_err(|error| self.fault("written", error))?;
        if deleted.attributes.is_none() {
            return Ok(false);
        }
        // After the job, so that no piece is written behind this.
        let query = self.pieces(user_id, job_id).projection_expression("PK, SK");
        let mut pieces = query.into_paginator().items().send();
        while let Some(piece) = pieces.next().await {
            let key = piece.map_err(|error| self.fault("read", error))?;
            let delete = self.client.delete_item().table_name(&self.table).set_key(Some(key));
            delete.send().await.map_err(|error| self.fault("written", error))?;
        }
        Ok(true)
    }

    async fn repeated(&self, submission: Submission<'_>, key: &str) -> Result<Submitted, JobError> {
        let known = self.get_item(key_partition(submission.user_id), key).await?;
        let Some(job_id) = known.and_then(|item| text_of(&item, "jobId")) else {
            return Ok(Submitted::KeyTaken);
        };
        Ok(match self.get(submission.user_id, &job_id).await? {
            Some(job) if job.query == submission.query && job.agent_ids == submission.agent_ids => {
                Submitted::Repeated(job)
            }
            _ => Submitted::KeyTaken,
        })
    }

    async fn get_item(&self, partition: AttributeValue, id: &str) -> Result<Option<Item>, JobError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("PK", partition)
            .key("SK", string(id))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| self.fault("read", error))?;
        Ok(answer.item)
    }

    fn put(&self, item: Item) -> TransactWriteItem {
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(PK)");
        TransactWriteItem::builder().set_put(put.build().ok()).build()
    }
}

fn new_item(submission: Submission<'_>, now: Timestamp) -> Item {
    let agent_ids = serde_json::Value::from(submission.agent_ids).to_string();
    let pending = JobStatus::Pending.as_str();
    HashMap::from([
        ("PK".to_owned(), partition(submission.user_id)),
        ("SK".to_owned(), string(submission.job_id)),
        ("query".to_owned(), string(submission.query)),
        ("agentIds".to_owned(), string(&agent_ids)),
        ("status".to_owned(), string(pending)),
        ("unfinished".to_owned(), string(pending)),
        ("createdAt".to_owned(), string(&timestamp(now))),
        ("ExpiresAfter".to_owned(), number((now + submission.kept).as_second())),
    ])
}

fn key_item(submission: Submission<'_>, key: &str, now: Timestamp) -> Item {
    HashMap::from([
        ("PK".to_owned(), key_partition(submission.user_id)),
        ("SK".to_owned(), string(key)),
        ("jobId".to_owned(), string(submission.job_id)),
        ("ExpiresAfter".to_owned(), number((now + KEY_KEPT).as_second())),
    ])
}

fn key_partition(user_id: &str) -> AttributeValue {
    string(&format!("idempotency#{user_id}"))
}
