//! One job, as it lies in its item.

use std::{collections::HashMap, fmt};

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

/// One question of one user to some agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Whose job it is.
    pub user_id: String,
    /// Its id, unique for the user.
    pub job_id: String,
    /// What was asked, verbatim.
    pub query: String,
    /// Whom it was asked of.
    pub agent_ids: Vec<String>,
    /// Where it stands.
    pub status: JobStatus,
    /// When it was submitted, as written by whoever submitted it.
    pub created_at: String,
    /// The answer of a completed job: a JSON text.
    pub result: Option<String>,
    /// Why a failed job failed.
    pub error: Option<String>,
}

/// Where a job stands. It goes from `PENDING` to `PROCESSING` to one of the other two, and no other way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobStatus {
    /// Submitted.
    Pending,
    /// Claimed by a run.
    Processing,
    /// Ended with a result.
    Completed,
    /// Ended with an error.
    Failed,
}

impl JobStatus {
    /// The word in the item.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Processing => "PROCESSING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }

    fn parse(text: &str) -> Self {
        match text {
            "PROCESSING" => Self::Processing,
            "COMPLETED" => Self::Completed,
            "FAILED" => Self::Failed,
            _ => Self::Pending,
        }
    }
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A time as the accelerator writes it: UTC with microseconds, `2026-01-31T09:30:00.000000Z`.
pub fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

impl Job {
    pub(crate) fn from_item(user_id: &str, job_id: &str, item: &HashMap<String, AttributeValue>) -> Self {
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned();
        Self {
            user_id: user_id.to_owned(),
            job_id: job_id.to_owned(),
            query: text("query").unwrap_or_default(),
            agent_ids: item.get("agentIds").map(agent_ids).unwrap_or_default(),
            status: JobStatus::parse(&text("status").unwrap_or_default()),
            created_at: text("createdAt").unwrap_or_default(),
            result: text("result"),
            error: text("error"),
        }
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
        let text = |text: &str| AttributeValue::S(text.to_owned());
        check(text(r#"["a", "b"]"#), &["a", "b"]);
        check(AttributeValue::L(vec![text("a"), text("b")]), &["a", "b"]);
        check(text("a"), &[]);
        check(AttributeValue::N("1".into()), &[]);
    }

    #[test]
    fn times_are_written_as_the_page_reads_them() {
        let time = Timestamp::from_microsecond(1_769_851_800_000_042).unwrap();
        assert_eq!(timestamp(time), "2026-01-31T09:30:00.000042Z");
    }
}
