//! What is remembered of a run: the job, who holds it, and what came of it.
//!
//! A [`Job`] lies in a DynamoDB item whose shape the accelerator's page and resolvers read; a
//! [`Claim`] is the right to write to it, good until its lease runs out and somebody else claims the
//! job. Knows nothing of agents, models or MCP.

mod claim;
mod dynamodb;
mod error;
mod items;
mod job;
mod quota;
mod records;
mod unfinished;
mod users;

pub use claim::{Claim, Claimed, Earlier, Outcome};
pub use dynamodb::JobTable;
pub use error::JobError;
pub use items::JobOwner;
pub use job::{Job, JobStatus, timestamp};
pub use quota::{Quota, QuotaExceeded};
pub use unfinished::{ABANDONED_AFTER, NEVER_STARTED_AFTER, Swept, Waiting};
pub use users::{Page, Submission, Submitted};
