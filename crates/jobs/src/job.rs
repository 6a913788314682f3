//! A job and its status, as read from the job item. Calls nothing.

use std::fmt;

use jiff::Timestamp;

/// A job: one query of one user to one or several agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The name of the user whose job it is.
    pub user_id: String,
    /// The user's `sub`, if it was known at the submission.
    pub sub: Option<String>,
    /// The job's id, unique for the user.
    pub job_id: String,
    /// The query, verbatim.
    pub query: String,
    /// The ids of the agents that answer the query.
    pub agent_ids: Vec<String>,
    /// The status.
    pub status: JobStatus,
    /// Time of the submission, as text on the item. This crate writes it as [`timestamp`] does.
    pub created_at: String,
    /// Time of the end, as text on the item.
    pub completed_at: Option<String>,
    /// The answer of a completed job: a JSON text.
    pub result: Option<String>,
    /// The error of a failed job: one line.
    pub error: Option<String>,
    /// Time from which DynamoDB deletes the item, in seconds since the epoch.
    pub expires_after: Option<i64>,
    /// The transcript on the item, in which long texts may be elided: a JSON text.
    pub agent_messages: Option<String>,
    /// The usage of the run: a JSON text.
    pub usage: Option<String>,
    /// The end of the lease, if a run has claimed the job.
    pub lease_until: Option<Timestamp>,
    /// The attempt whose whole transcript is stored in items of its own.
    pub(crate) transcript_of: Option<u64>,
}

/// The status of a job. It changes from `PENDING` to `PROCESSING`, and from there to `COMPLETED` or `FAILED`. The sweep
/// also changes `PENDING` to `FAILED`.
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
    /// Returns the status as the item has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Processing => "PROCESSING",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
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

/// Formats a time as the accelerator writes it: UTC with microseconds, `2026-01-31T09:30:00.000000Z`.
pub fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_the_page_reads_them() {
        let time = Timestamp::from_microsecond(1_769_851_800_000_042).unwrap();
        assert_eq!(timestamp(time), "2026-01-31T09:30:00.000042Z");
    }
}
