//! One job and where it stands.

use std::fmt;

use jiff::Timestamp;

/// One question of one user to some agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Whose job it is.
    pub user_id: String,
    /// The user's `sub`, if it was known at the submission.
    pub sub: Option<String>,
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
    /// When it ended, as written.
    pub completed_at: Option<String>,
    /// The answer of a completed job: a JSON text.
    pub result: Option<String>,
    /// Why a failed job failed.
    pub error: Option<String>,
    /// When the item is deleted by itself, in seconds since the epoch.
    pub expires_after: Option<i64>,
    /// The transcript as it lies on the item: a JSON text.
    pub agent_messages: Option<String>,
    /// What the run used: a JSON text.
    pub usage: Option<String>,
    /// Until when its run holds it.
    pub lease_until: Option<Timestamp>,
    /// The attempt whose whole transcript lies beside the item.
    pub(crate) transcript_of: Option<u64>,
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

/// A time as the accelerator writes it: UTC with microseconds, `2026-01-31T09:30:00.000000Z`.
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
