//! The job item: its attributes and keys, and their conversion to a [`Job`]. Calls nothing.
//!
//! - `PK`: `agent#{userId}`; `SK`: `{jobId}`.
//! - `query`, `agentIds`, `status`, `createdAt`, `ExpiresAfter`; `sub`: the user's, if it is known.
//! - `agent_messages`, `usage`, `result` or `error`, `completedAt`; `transcriptOf`: the attempt whose whole transcript
//!   is stored in items of its own.
//! - From the first claim on: `attempt`: the number of claims; `claimId`: the id of the last claim; `leaseUntil`: in
//!   milliseconds since the epoch, until the job ends; `effect`: the first tool called that may have changed something.
//! - `unfinished`: the partition key of the sparse index of jobs that have not ended; repeats their status.
//! - `startedAgainAt`: the time when the sweep started a pending job again, in milliseconds since the epoch.

use aws_kit::{Item, number_of, text, text_of};
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use crate::job::{Job, JobStatus};

/// The owner of a job. As in the accelerator, the keys contain the user's name. The user pool may later give the same
/// name to another person, whose `sub` differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobOwner<'a> {
    /// The user's name.
    pub user_id: &'a str,
    /// The `sub` that the user pool gave to this person, if it is known.
    pub sub: Option<&'a str>,
}

impl JobOwner<'_> {
    /// Returns true if the item belongs to another person of the same name.
    pub(crate) fn is_another_person(self, item: &Item) -> bool {
        let found = item.get("sub").and_then(|sub| sub.as_s().ok());
        found.zip(self.sub).is_some_and(|(found, own)| found != own)
    }
}

pub(crate) fn partition(user_id: &str) -> AttributeValue {
    text(format!("agent#{user_id}"))
}

pub(crate) fn job_of(user_id: &str, job_id: &str, item: &Item) -> Job {
    Job {
        user_id: user_id.to_owned(),
        job_id: job_id.to_owned(),
        sub: text_of(item, "sub"),
        query: text_of(item, "query").unwrap_or_default(),
        agent_ids: item.get("agentIds").map(agent_ids).unwrap_or_default(),
        status: JobStatus::parse(&text_of(item, "status").unwrap_or_default()),
        created_at: text_of(item, "createdAt").unwrap_or_default(),
        completed_at: text_of(item, "completedAt"),
        result: text_of(item, "result"),
        error: text_of(item, "error"),
        expires_after: number_of(item, "ExpiresAfter"),
        agent_messages: text_of(item, "agent_messages"),
        usage: text_of(item, "usage"),
        transcript_of: number_of(item, "transcriptOf"),
        lease_until: number_of(item, "leaseUntil").and_then(|until| Timestamp::from_millisecond(until).ok()),
    }
}

/// Reads the agents' ids. The accelerator and this crate write a JSON text; lists and sets are read as well. Any other
/// value gives no ids.
fn agent_ids(value: &AttributeValue) -> Vec<String> {
    match value {
        AttributeValue::S(text) => serde_json::from_str(text).unwrap_or_default(),
        AttributeValue::L(list) => list.iter().filter_map(|id| id.as_s().ok().cloned()).collect(),
        AttributeValue::Ss(set) => set.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_ids_are_read_from_a_json_text_and_from_a_list() {
        let check = |value: AttributeValue, expected: &[&str]| assert_eq!(agent_ids(&value), expected);
        check(text(r#"["a", "b"]"#), &["a", "b"]);
        check(AttributeValue::L(vec![text("a"), text("b")]), &["a", "b"]);
        check(text("a"), &[]);
        check(aws_kit::number(1), &[]);
    }
}
