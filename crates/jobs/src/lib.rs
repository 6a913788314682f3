//! What is remembered of a run: the job, who holds it, and what came of it.
//!
//! A [`Job`] lies in a DynamoDB item whose shape the accelerator's page and resolvers read; a
//! [`Claim`] is the right to write to it, good until somebody else claims the job. Knows nothing of
//! agents, models or MCP.

mod dynamodb;
mod error;
mod job;

pub use dynamodb::{Claim, Claimed, JobTable};
pub use error::JobError;
pub use job::{Job, JobStatus, timestamp};
