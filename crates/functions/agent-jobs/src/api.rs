//! What can be done with jobs, whichever way the request came: by a resolver or over HTTP.
//!
//! Every call names the user, whose id was taken from a verified identity.

use auth::User;
use aws_config::SdkConfig;
use backend::Backend;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use catalog::{Catalog, ListedAgent};
use jiff::{SignedDuration, Timestamp};
use jobs::{Job, JobOwner, JobTable, SubmissionOutcome, SweepReport};
use mcp::Freshness;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    config::Config,
    dto::{AgentId, JobPage, Submission},
    error::ApiError,
    processor::Processor,
};

/// The original's limit, in characters.
const MAX_QUERY: usize = 100_000;
/// Half of what an item holds: the other half is for the ids, the result and the transcript. 100,000 characters of
/// at most two bytes fit, those of four do not.
const MAX_QUERY_BYTES: usize = 200_000;
/// More agents than one query can sensibly ask.
const MAX_AGENTS: usize = 64;
/// Ids are made of names, which are shorter.
const MAX_AGENT_ID_BYTES: usize = 256;
/// DynamoDB's sort key takes 1,024 bytes; no client needs that.
const MAX_KEY: usize = 255;
/// How many jobs a page holds unless asked, and at most.
const PAGE: i32 = 20;
const MAX_PAGE: i64 = 100;

/// All that a cold start makes.
pub struct Api {
    jobs: JobTable,
    backend: Backend,
    catalog: Catalog,
    processor: Processor,
    config: Config,
}

impl Api {
    /// Makes the clients; calls nothing.
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        let backend = Backend::new(aws, &config.backend, config.backend.cache.discovery);
        Self {
            jobs: JobTable::new(aws_sdk_dynamodb::Client::new(aws), config.agent_table.clone()),
            catalog: backend.catalog(aws),
            backend,
            processor: Processor::new(aws_sdk_lambda::Client::new(aws), config.processor.clone()),
            config,
        }
    }

    /// Waits for token refreshes under way, but not past `until`.
    pub(crate) async fn settled(&self, until: Instant) {
        self.backend.settled(until).await;
    }

    /// The agents as they are for `user`, with what is known by `until`.
    pub(crate) async fn agents(
        &self,
        user: &User,
        freshness: Freshness,
        until: Instant,
    ) -> Result<Vec<ListedAgent>, ApiError> {
        Ok(self.catalog.agents(Some(user), freshness, runtime::now(), until).await?)
    }

    /// Submits a job and starts it. A repeated submission starts it again if it is still pending: the first
    /// may have ended in between.
    pub(crate) async fn submit(
        &self,
        user: &User,
        asked: &Submission,
        idempotency_key: Option<&str>,
    ) -> Result<Job, ApiError> {
        check(asked, idempotency_key)?;
        let agent_ids: Vec<String> = asked.agent_ids.iter().map(|AgentId(id)| id.clone()).collect();
        let now = runtime::now();
        let job_id = job_id(now);
        let owner = owner(user);
        let submission = jobs::Submission {
            owner,
            job_id: &job_id,
            query: &asked.query,
            agent_ids: &agent_ids,
            idempotency_key,
            retention: SignedDuration::from_hours(24 * i64::from(self.config.retention_days)),
        };
        // What was submitted before counts once.
        let submitted = match self.jobs.submitted_before(submission).await? {
            Some(before) => before,
            None => {
                if let Some(exceeded) = self.jobs.admit(owner, &job_id, self.config.quota, now).await? {
                    return Err(ApiError::QuotaExceeded(exceeded, now));
                }
                self.jobs.submit(submission, now).await?
            }
        };
        let job = match submitted {
            SubmissionOutcome::New(job) | SubmissionOutcome::Repeated(job) => job,
            SubmissionOutcome::KeyTaken => return Err(ApiError::Conflict),
        };
        if job.status == jobs::JobStatus::Pending
            && let Err(reason) = self.processor.start(&user.name, &job.job_id).await
        {
            tracing::error!(job.id = job.job_id, reason, "External MCP: the processor could not be invoked");
            // A job that nobody was told of is not left behind; with a key the client's retry starts it.
            if idempotency_key.is_none() {
                self.remove(owner, &job.job_id).await?;
            }
            return Err(ApiError::Unavailable);
        }
        tracing::info!(job.id = job.job_id, user.id = user.name, "External MCP: job submitted");
        Ok(job)
    }

    pub(crate) async fn job(&self, user: &User, job_id: &str) -> Result<Option<Job>, ApiError> {
        Ok(self.jobs.get_ending_abandoned(owner(user), job_id, runtime::now()).await?)
    }

    /// The whole transcript of a user's job.
    pub(crate) async fn messages(&self, user: &User, job_id: &str) -> Result<Option<Vec<Value>>, ApiError> {
        let Some(job) = self.job(user, job_id).await? else { return Ok(None) };
        if let Some(whole) = self.jobs.stored_transcript(&job).await? {
            return Ok(Some(whole));
        }
        let on_item = job.agent_messages.and_then(|text| serde_json::from_str(&text).ok());
        Ok(Some(on_item.unwrap_or_default()))
    }

    /// A page of a user's jobs.
    pub(crate) async fn list(
        &self,
        user: &User,
        limit: Option<i64>,
        next_token: Option<&str>,
    ) -> Result<JobPage, ApiError> {
        let limit = match limit {
            None => PAGE,
            Some(limit @ 1..=MAX_PAGE) => limit as i32,
            Some(_) => {
                return Err(ApiError::BadField("limit", format!("limit must be from 1 to {MAX_PAGE}")));
            }
        };
        let after = next_token.map(read_token).transpose()?;
        let page = self.jobs.list(owner(user), limit, after.as_deref()).await?;
        Ok(JobPage {
            items: page.jobs.into_iter().map(Into::into).collect(),
            next_token: page.next.map(|id| write_token(&id)),
        })
    }

    /// Deletes a user's job; tells whether there was one.
    pub(crate) async fn delete(&self, user: &User, job_id: &str) -> Result<bool, ApiError> {
        self.remove(owner(user), job_id).await
    }

    /// Deletes a job, which then counts no more against the user's quota of unfinished jobs.
    async fn remove(&self, owner: JobOwner<'_>, job_id: &str) -> Result<bool, ApiError> {
        let was_there = self.jobs.delete(owner, job_id).await?;
        if was_there
            && self.config.quota.running > 0
            && let Err(error) = self.jobs.release(owner, job_id).await
        {
            tracing::warn!(%error, job.id = job_id, "External MCP: a deleted job counts against its user's quota for a minute");
        }
        Ok(was_there)
    }

    /// Ends jobs that nobody runs any more and starts those again that nobody has begun, on a table of our own.
    pub(crate) async fn sweep(&self) -> Result<Option<SweepReport>, ApiError> {
        let Some(index) = &self.config.unfinished_index else { return Ok(None) };
        let mut swept = self.jobs.sweep(index, runtime::now()).await?;
        for waiting in &swept.to_start {
            let job_id = waiting.job_id.as_str();
            match self.processor.start(&waiting.user_id, job_id).await {
                Ok(()) => tracing::warn!(
                    job.id = job_id,
                    "External MCP: a job that nobody had begun is started again"
                ),
                Err(reason) => {
                    swept.failed += 1;
                    tracing::error!(
                        job.id = job_id,
                        reason,
                        "External MCP: the processor could not be invoked"
                    );
                }
            }
        }
        Ok(Some(swept))
    }
}

fn owner(user: &User) -> JobOwner<'_> {
    JobOwner { user_id: &user.name, sub: user.sub.as_deref() }
}

fn check(asked: &Submission, idempotency_key: Option<&str>) -> Result<(), ApiError> {
    let bad = |field: &'static str, problem: &str| Err(ApiError::BadField(field, problem.to_owned()));
    if asked.query.trim().is_empty() {
        return Err(ApiError::QueryMissing);
    }
    if asked.query.chars().count() > MAX_QUERY {
        return Err(ApiError::QueryTooLong);
    }
    let ids = &asked.agent_ids;
    if ids.is_empty() || ids.iter().any(|AgentId(id)| id.is_empty()) {
        return Err(ApiError::NoAgents);
    }
    if asked.query.len() > MAX_QUERY_BYTES {
        return bad("query", "query is larger than 200000 bytes in UTF-8");
    }
    if ids.len() > MAX_AGENTS {
        return bad("agentIds", "agentIds may name at most 64 agents");
    }
    if ids.iter().any(|AgentId(id)| id.len() > MAX_AGENT_ID_BYTES || id.chars().any(char::is_control)) {
        return bad("agentIds", "agentIds: an id has at most 256 bytes, and no control characters");
    }
    match idempotency_key {
        Some(key) if !(1..=MAX_KEY).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) => {
            Err(ApiError::BadRequest("Idempotency-Key must be 1 to 255 visible ASCII characters".to_owned()))
        }
        _ => Ok(()),
    }
}

/// A UUIDv7: ids that sort by time list newest first.
fn job_id(now: Timestamp) -> String {
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos)).to_string()
}

/// The sort key alone: the partition comes from the identity of whoever uses the token.
fn write_token(job_id: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("1{job_id}"))
}

fn read_token(token: &str) -> Result<String, ApiError> {
    let garbled = || ApiError::BadField("nextToken", "nextToken is not one of this API".to_owned());
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).map_err(|_| garbled())?;
    let text = String::from_utf8(bytes).map_err(|_| garbled())?;
    let job_id = text.strip_prefix('1').ok_or_else(garbled)?;
    let is_id = (1..=128).contains(&job_id.len()) && job_id.bytes().all(|b| b.is_ascii_graphic());
    if is_id { Ok(job_id.to_owned()) } else { Err(garbled()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(query: &str, agent_ids: &[&str], expected: Option<&str>) {
        let agent_ids = agent_ids.iter().map(|id| AgentId((*id).to_owned())).collect();
        let outcome = check(&Submission { query: query.to_owned(), agent_ids }, None);
        assert_eq!(outcome.err().map(|error| error.to_string()).as_deref(), expected);
    }

    #[test]
    fn what_a_submission_needs() {
        refused("q", &["a", "b"], None);
        refused(&"ü".repeat(100_000), &["a"], None);
        let too_long = "Query exceeds the maximum length of 100,000 characters";
        refused(&"x".repeat(100_001), &["a"], Some(too_long));
        refused(&"\u{10348}".repeat(60_000), &["a"], Some("query is larger than 200000 bytes in UTF-8"));
        refused(" ", &["a"], Some("Query is required"));
        for none in [&[] as &[&str], &[""], &["a", ""]] {
            refused("q", none, Some("At least one agent ID is required"));
        }
    }

    #[test]
    fn tokens_lead_back_and_garbled_ones_are_refused() {
        assert_eq!(read_token(&write_token("0199-abc")).unwrap(), "0199-abc");
        for garbled in ["", "!", "MQ", "eyJQSyI6ICJhZ2VudCNib2IifQ", &BASE64_URL_SAFE_NO_PAD.encode("1a b")] {
            assert!(matches!(read_token(garbled), Err(ApiError::BadField("nextToken", _))), "{garbled}");
        }
    }

    #[test]
    fn later_ids_sort_later() {
        let at = |second| job_id(Timestamp::from_second(second).unwrap());
        assert!(at(1_800_000_000) < at(1_800_000_001));
    }
}
