//! Why a job could not be read or written.

/// Why a job could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The table did not do what it was asked: its own code or words say why.
    #[error(
        "the job table {table} could not be {verb} ({reason}): check AGENT_TABLE and this role's rights on it"
    )]
    Table {
        /// The table's name.
        table: String,
        /// `read` or `written`.
        verb: &'static str,
        /// What DynamoDB said.
        reason: String,
    },
    /// The lease has run out without being renewed, so that anybody may have taken the job by now.
    #[error(
        "job {job_id} could not be held: its lease was not renewed in time; check that the job table answers"
    )]
    Lapsed {
        /// The job.
        job_id: String,
    },
    /// Somebody else holds the job by now, or it was deleted: nothing was written.
    #[error("job {job_id} is no longer this run's: it was deleted, taken over or ended")]
    Lost {
        /// The job.
        job_id: String,
    },
}
