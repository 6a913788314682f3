//! The operations on agents and jobs. The HTTP routes, the resolver fields and the schedule's sweep call them.
//!
//! Every call for a user names the user, whose id comes from a verified identity. Runs no job: the processor does.

use auth::User;
use aws_config::SdkConfig;
use backend::Backend;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use catalog::{Catalog, ListedAgent};
use identity::{Authenticator, Tenant};
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

/// The longest query, in characters: the accelerator's limit.
const MAX_QUERY: usize = 100_000;
/// The longest query, in bytes: half of a DynamoDB item. The other half is for the ids, the result and the transcript.
/// 100,000 characters of one or two bytes fit, 100,000 characters of four bytes do not.
const MAX_QUERY_BYTES: usize = 200_000;
/// Most agents of one job.
const MAX_AGENTS: usize = 64;
/// The longest agent id, in bytes. Ids are made from agents' names, which are shorter.
const MAX_AGENT_ID_BYTES: usize = 256;
/// The longest idempotency key, in bytes. The key is a DynamoDB sort key, which may have 1,024 bytes.
const MAX_KEY: usize = 255;
/// The number of jobs on a page if the request names none.
const PAGE: i32 = 20;
/// Most jobs on a page.
const MAX_PAGE: i64 = 100;

/// The state of the function, made once at cold start.
pub struct Api {
    jobs: JobTable,
    backend: Backend,
    catalog: Catalog,
    processor: Processor,
    authenticator: Authenticator,
    config: Config,
}

impl Api {
    /// Creates the clients. Sends no request.
    pub fn new(aws: &SdkConfig, config: Config) -> Self {
        let backend = Backend::new(aws, &config.backend, config.backend.cache.discovery);
        Self {
            jobs: JobTable::new(aws_sdk_dynamodb::Client::new(aws), config.agent_table.clone()),
            catalog: backend.catalog(aws),
            backend,
            authenticator: config.callers.authenticator(),
            processor: Processor::new(aws_sdk_lambda::Client::new(aws), config.processor.clone()),
            config,
        }
    }

    /// Returns the authenticator: who calls, and for which tenant.
    pub(crate) fn authenticator(&self) -> &Authenticator {
        &self.authenticator
    }

    /// Waits for token refreshes under way, but not past `until`.
    pub(crate) async fn settled(&self, until: Instant) {
        self.backend.settled(until).await;
    }

    /// Lists the agents for `user`, with the tools that are known by `until`.
    pub(crate) async fn agents(
        &self,
        user: &User,
        freshness: Freshness,
        until: Instant,
    ) -> Result<Vec<ListedAgent>, ApiError> {
        Ok(self.catalog.agents(Some(user), freshness, runtime::now(), until).await?)
    }

    /// Submits a job and starts it. A repeated submission starts the job again if it is still pending, because the
    /// first request may have been cut off before the start.
    pub(crate) async fn submit(
        &self,
        user: &User,
        tenant: &Tenant,
        body: &Submission,
        idempotency_key: Option<&str>,
    ) -> Result<Job, ApiError> {
        check(body, idempotency_key)?;
        let agent_ids: Vec<String> = body.agent_ids.iter().map(|AgentId(id)| id.clone()).collect();
        let now = runtime::now();
        let job_id = job_id(now);
        let owner = owner(user);
        let submission = jobs::Submission {
            owner,
            org: tenant.as_str(),
            job_id: &job_id,
            query: &body.query,
            agent_ids: &agent_ids,
            idempotency_key,
            retention: SignedDuration::from_hours(24 * i64::from(self.config.retention_days)),
        };
        // A repeated submission does not count against the quota again.
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
            // The client does not know the job's id, so the job is deleted. With a key, the client's retry starts it.
            if idempotency_key.is_none() {
                self.remove(owner, &job.job_id).await?;
            }
            return Err(ApiError::Unavailable);
        }
        tracing::info!(job.id = job.job_id, user.id = user.name, "External MCP: job submitted");
        Ok(job)
    }

    /// Reads a user's job. If the job is abandoned, ends it first.
    pub(crate) async fn job(&self, user: &User, job_id: &str) -> Result<Option<Job>, ApiError> {
        Ok(self.jobs.get_ending_abandoned(owner(user), job_id, runtime::now()).await?)
    }

    /// Returns the whole transcript of a user's job.
    pub(crate) async fn messages(&self, user: &User, job_id: &str) -> Result<Option<Vec<Value>>, ApiError> {
        let Some(job) = self.job(user, job_id).await? else { return Ok(None) };
        if let Some(whole) = self.jobs.stored_transcript(&job).await? {
            return Ok(Some(whole));
        }
        let on_item = job.agent_messages.and_then(|text| serde_json::from_str(&text).ok());
        Ok(Some(on_item.unwrap_or_default()))
    }

    /// Returns a page of a user's jobs.
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

    /// Deletes a user's job. Returns false if there was none.
    pub(crate) async fn delete(&self, user: &User, job_id: &str) -> Result<bool, ApiError> {
        self.remove(owner(user), job_id).await
    }

    /// Deletes a job and removes it from the user's quota of unfinished jobs. Returns false if there was none.
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

    /// Ends jobs that no process runs any more, and starts pending jobs again whose run never began. Returns `None` on
    /// a borrowed table, which has no index of unfinished jobs.
    pub(crate) async fn sweep(&self) -> Result<Option<SweepReport>, ApiError> {
        let Some(index) = &self.config.unfinished_index else { return Ok(None) };
        let mut report = self.jobs.sweep(index, runtime::now()).await?;
        for job in &report.to_start {
            let job_id = job.job_id.as_str();
            match self.processor.start(&job.user_id, job_id).await {
                Ok(()) => tracing::warn!(
                    job.id = job_id,
                    "External MCP: a pending job whose run never began is started again"
                ),
                Err(reason) => {
                    report.failed += 1;
                    tracing::error!(
                        job.id = job_id,
                        reason,
                        "External MCP: the processor could not be invoked"
                    );
                }
            }
        }
        Ok(Some(report))
    }
}

fn owner(user: &User) -> JobOwner<'_> {
    JobOwner { user_id: &user.name, sub: user.sub.as_deref() }
}

/// Checks the content of a submission.
fn check(body: &Submission, idempotency_key: Option<&str>) -> Result<(), ApiError> {
    let bad = |field: &'static str, problem: &str| Err(ApiError::BadField(field, problem.to_owned()));
    if body.query.trim().is_empty() {
        return Err(ApiError::QueryMissing);
    }
    if body.query.chars().count() > MAX_QUERY {
        return Err(ApiError::QueryTooLong);
    }
    let ids = &body.agent_ids;
    if ids.is_empty() || ids.iter().any(|AgentId(id)| id.is_empty()) {
        return Err(ApiError::NoAgents);
    }
    if body.query.len() > MAX_QUERY_BYTES {
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

/// Returns a new id, a UUIDv7, which sorts by time. Lists in descending order begin with the newest job.
fn job_id(now: Timestamp) -> String {
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or_default();
    Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanos)).to_string()
}

/// Returns the token for the page after this job. It has the sort key only: the partition comes from the identity of
/// the user who sends the token.
fn write_token(job_id: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("1{job_id}"))
}

/// Returns the job's id in a token.
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

    fn check_error(query: &str, agent_ids: &[&str], expected: Option<&str>) {
        let agent_ids = agent_ids.iter().map(|id| AgentId((*id).to_owned())).collect();
        let outcome = check(&Submission { query: query.to_owned(), agent_ids }, None);
        assert_eq!(outcome.err().map(|error| error.to_string()).as_deref(), expected);
    }

    #[test]
    fn a_submission_needs_a_query_and_agents() {
        check_error("q", &["a", "b"], None);
        check_error(&"ü".repeat(100_000), &["a"], None);
        let too_long = "Query exceeds the maximum length of 100,000 characters";
        check_error(&"x".repeat(100_001), &["a"], Some(too_long));
        check_error(&"\u{10348}".repeat(60_000), &["a"], Some("query is larger than 200000 bytes in UTF-8"));
        check_error(" ", &["a"], Some("Query is required"));
        for none in [&[] as &[&str], &[""], &["a", ""]] {
            check_error("q", none, Some("At least one agent ID is required"));
        }
    }

    #[test]
    fn a_token_gives_its_job_id_and_a_garbled_one_is_refused() {
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
