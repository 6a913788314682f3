//! The job item: its attributes, read and weighed.
//!
//! `PK` `agent#{userId}`, `SK` `{jobId}`, `query`, `agentIds`, `status`, `createdAt`, `ExpiresAfter`, then
//! `agent_messages`, `usage`, `result` | `error`, `completedAt`, `transcriptOf` (the attempt whose whole transcript
//! is kept in items of its own), `sub` (the user's, where it is known). While a job is claimed: `attempt` (how often it was), `claimId` (of the last claim),
//! `leaseUntil` (milliseconds since the epoch), `effect` (a tool that may have changed something, as soon as one
//! was called). `unfinished` is the partition key of the sparse index of jobs
//! that have not ended, and repeats their status; `startedAgainAt` is when the sweep started a pending one again.

use aws_kit::{Item, number_of, text, text_of};
use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use crate::job::{Job, JobStatus};

/// Whose a job is. The keys are made of the name, as the accelerator's are; a name may be given to another person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobOwner<'a> {
    /// The user's name.
    pub user_id: &'a str,
    /// What the user pool calls that one person, if it is known.
    pub sub: Option<&'a str>,
}

impl JobOwner<'_> {
    /// Returns true if an item under the name is another person's.
    pub(crate) fn is_another(self, item: &Item) -> bool {
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

/// The original writes a JSON text, others a list; what is neither names nobody.
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
    fn agent_ids_are_read_in_both_shapes() {
        let check = |value: AttributeValue, expected: &[&str]| assert_eq!(agent_ids(&value), expected);
        check(text(r#"["a", "b"]"#), &["a", "b"]);
        check(AttributeValue::L(vec![text("a"), text("b")]), &["a", "b"]);
        check(text("a"), &[]);
        check(aws_kit::number(1), &[]);
    }
}
