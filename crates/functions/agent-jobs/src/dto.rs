//! What the jobs API takes and answers, as JSON has it. The OpenAPI document is made of these types.
//!
//! Their names in JSON are the accelerator's, whose page reads them: some in camelCase, some in snake_case.

use catalog::ListedAgent;
use edge::HttpError;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// What agents are asked.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Submission {
    /// The question: at most 100,000 characters, and 200,000 bytes in UTF-8.
    #[serde(default)]
    #[schema(required, min_length = 1, max_length = 100_000, pattern = r"\S")]
    pub(crate) query: String,
    /// The agents that are asked. Several are asked by one orchestrator.
    #[serde(default)]
    #[schema(required, min_items = 1, max_items = 64)]
    pub(crate) agent_ids: Vec<AgentId>,
}

/// The id of an agent, as GET /agents lists it: at most 256 bytes in UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[schema(min_length = 1, max_length = 256, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$")]
pub(crate) struct AgentId(pub(crate) String);

/// The query of GET /agents.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AgentsQuery {
    /// Asks every server anew, at most once in 30 seconds.
    #[param(inline)]
    pub(crate) refresh: Option<Refresh>,
}

/// Whether servers are asked anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refresh {
    /// Every server is asked anew.
    True,
    /// What is known of a server is taken while it is fresh.
    False,
}

/// The query of GET /jobs.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct JobsQuery {
    /// The most jobs of a page; 20 if it is not given.
    #[serde(default, deserialize_with = "page_size")]
    #[param(minimum = 1, maximum = 100)]
    pub(crate) limit: Option<i64>,
    /// `nextToken` of the page before.
    pub(crate) next_token: Option<String>,
}

/// The headers of POST /jobs.
#[derive(Debug, Clone, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header in the OpenAPI document; the handler reads it itself")]
pub(crate) struct SubmissionHeaders {
    /// Two submissions with one key within a day are one job.
    #[param(
        rename = "Idempotency-Key",
        required = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$"
    )]
    pub(crate) idempotency_key: String,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Agent {
    /// The id that jobs name the agent by.
    pub(crate) agent_id: String,
    /// The name that people read.
    pub(crate) agent_name: String,
    /// What the agent is for, with the names of its tools.
    pub(crate) agent_description: String,
    /// Examples of what the agent may be asked.
    pub(crate) sample_queries: Vec<String>,
    /// How the agent's tools are known.
    pub(crate) status: AgentStatus,
    /// Why the agent is not `available`, or which of its tools are left out.
    #[schema(required)]
    pub(crate) status_reason: Option<String>,
    /// The names of the agent's tools.
    pub(crate) tools: Vec<String>,
}

/// How an agent's tools are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AgentStatus {
    /// From its server, within the time that a list is fresh.
    Available,
    /// They are the last known ones: its server fails.
    Stale,
    /// Not at all: its server fails.
    Unavailable,
    /// They are the last known ones, if there are any: a user must sign in.
    NeedsSignIn,
}

/// A job, without its transcript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    /// The job's id. Ids of later jobs sort behind those of earlier ones.
    pub(crate) job_id: String,
    /// Where the job stands.
    pub(crate) status: JobStatus,
    /// What was asked.
    pub(crate) query: String,
    /// The agents that were asked, as a JSON text: an array of their ids.
    pub(crate) agent_ids: String,
    /// When the job was submitted, UTC with microseconds: `2026-01-31T09:30:00.000000Z`.
    pub(crate) created_at: String,
    /// When the job ended.
    #[schema(required)]
    pub(crate) completed_at: Option<String>,
    /// The answer, as a JSON text: `{responseType, metadata, content | tableData | plotData}`.
    #[schema(required)]
    pub(crate) result: Option<String>,
    /// Why the job failed.
    #[schema(required)]
    pub(crate) error: Option<String>,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum JobStatus {
    /// The job was submitted.
    Pending,
    /// The job runs.
    Processing,
    /// The job ended with a result.
    Completed,
    /// The job ended with an error.
    Failed,
}

/// A job with its transcript and what its run used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FullJob {
    /// The job.
    #[serde(flatten)]
    pub(crate) job: Job,
    /// The transcript so far, as a JSON text: an array of `Message`. Long texts in it may be elided.
    #[schema(required)]
    pub(crate) agent_messages: Option<String>,
    /// What the run used, as a JSON text: an object `Usage`.
    #[schema(required)]
    pub(crate) usage: Option<String>,
}

/// A page of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobPage {
    /// The jobs, newest first.
    pub(crate) items: Vec<Job>,
    /// Where the next page begins, if there is one.
    #[schema(required)]
    pub(crate) next_token: Option<String>,
}

/// The transcript of a job.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Messages {
    /// The messages, in order. They are answered as they were stored.
    #[schema(value_type = Vec<run_record::Message>)]
    pub(crate) messages: Vec<Value>,
}

impl From<ListedAgent> for Agent {
    fn from(agent: ListedAgent) -> Self {
        Self {
            agent_id: agent.agent_id,
            agent_name: agent.agent_name,
            agent_description: agent.agent_description,
            sample_queries: agent.sample_queries,
            status: match agent.status {
                catalog::AgentStatus::Available => AgentStatus::Available,
                catalog::AgentStatus::Stale => AgentStatus::Stale,
                catalog::AgentStatus::Unavailable => AgentStatus::Unavailable,
                catalog::AgentStatus::NeedsSignIn => AgentStatus::NeedsSignIn,
            },
            status_reason: agent.status_reason,
            tools: agent.tools,
        }
    }
}

impl From<jobs::Job> for Job {
    fn from(job: jobs::Job) -> Self {
        Self {
            job_id: job.job_id,
            status: match job.status {
                jobs::JobStatus::Pending => JobStatus::Pending,
                jobs::JobStatus::Processing => JobStatus::Processing,
                jobs::JobStatus::Completed => JobStatus::Completed,
                jobs::JobStatus::Failed => JobStatus::Failed,
            },
            query: job.query,
            agent_ids: Value::from(job.agent_ids).to_string(),
            created_at: job.created_at,
            completed_at: job.completed_at,
            result: job.result,
            error: job.error,
        }
    }
}

impl From<jobs::Job> for FullJob {
    fn from(mut job: jobs::Job) -> Self {
        let (agent_messages, usage) = (job.agent_messages.take(), job.usage.take());
        Self { job: job.into(), agent_messages, usage }
    }
}

impl AgentsQuery {
    pub(crate) fn freshness(self) -> mcp::Freshness {
        match self.refresh {
            Some(Refresh::True) => mcp::Freshness::Forced,
            None | Some(Refresh::False) => mcp::Freshness::Cached,
        }
    }
}

/// The header `Idempotency-Key`, if there is one.
pub(crate) fn idempotency_key(headers: &axum::http::HeaderMap) -> Result<Option<&str>, HttpError> {
    let key = headers.get("idempotency-key").map(|key| key.to_str());
    let problem = "Idempotency-Key must be 1 to 255 visible ASCII characters";
    key.transpose().map_err(|_| HttpError::invalid_request(problem))
}

fn page_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|_| serde::de::Error::custom("is not a number"))
}
