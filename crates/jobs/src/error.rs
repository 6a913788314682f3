//! The errors of this crate.

/// An error in reading or writing a job.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// DynamoDB refused the request, or did not answer.
    #[error(
        "the job table {table} could not be {verb} ({reason}): check AGENT_TABLE and this role's rights on it"
    )]
    Table {
        /// The table's name.
        table: String,
        /// `read` or `written`.
        verb: &'static str,
        /// DynamoDB's error code, or the SDK's error.
        reason: String,
    },
    /// The lease expired before it was renewed. Another process may have claimed the job.
    #[error(
        "job {job_id} could not be held: its lease was not renewed in time; check that the job table answers"
    )]
    Lapsed {
        /// The job's id.
        job_id: String,
    },
    /// Another process has claimed the job, or the job has ended or was deleted. Nothing was written.
    #[error("job {job_id} is no longer this run's: it was deleted, taken over or ended")]
    Lost {
        /// The job.
        job_id: String,
    },
}
