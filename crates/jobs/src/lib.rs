//! Jobs in DynamoDB: submitted, claimed under a lease, recorded and ended.
//!
//! A [`Job`] is a DynamoDB item whose shape the accelerator's page and resolvers read. A [`Claim`] is the right to
//! write to a job. It lasts until its lease expires and another process claims the job. This crate knows no agents,
//! models or MCP, and starts no runs.

mod claim;
mod dynamodb;
mod error;
mod items;
mod job;
mod quota;
mod transcript;
mod transcript_items;
mod unfinished;
mod users;

pub use claim::{Claim, ClaimOutcome, EarlierRun, RunOutcome};
pub use dynamodb::JobTable;
pub use error::JobError;
pub use items::JobOwner;
pub use job::{Job, JobStatus, timestamp};
pub use quota::{Quota, QuotaExceeded};
pub use unfinished::{ABANDONED_AFTER, JobKey, NEVER_STARTED_AFTER, SweepReport};
pub use users::{Page, Submission, SubmissionOutcome};
