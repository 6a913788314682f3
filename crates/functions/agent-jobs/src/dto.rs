//! Request and response bodies of the jobs API, in JSON. The OpenAPI document contains these types.
//!
//! The names of fields in JSON are those of the accelerator, whose page reads them: some in camelCase, some in
//! snake_case.

use catalog::ListedAgent;
use edge::HttpError;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// A query to agents.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Submission {
    /// The query: at most 100,000 characters, and 200,000 bytes in UTF-8.
    #[serde(default)]
    #[schema(required, min_length = 1, max_length = 100_000, pattern = r"\S")]
    pub(crate) query: String,
    /// The ids of the agents that answer the query. An orchestrator calls them if there are several.
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
    /// If true, every MCP server lists its tools again, at most once in 30 seconds.
    #[param(inline)]
    pub(crate) refresh: Option<Refresh>,
}

/// Whether MCP servers list their tools again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Refresh {
    /// Every MCP server lists its tools again.
    True,
    /// Cached tools are used while they are fresh.
    False,
}

/// The query of GET /jobs.
#[derive(Debug, Clone, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase")]
#[into_params(parameter_in = Query)]
pub(crate) struct JobsQuery {
    /// Most jobs on the page; 20 if it is not given.
    #[serde(default, deserialize_with = "page_size")]
    #[param(minimum = 1, maximum = 100)]
    pub(crate) limit: Option<i64>,
    /// The `nextToken` of the page before.
    pub(crate) next_token: Option<String>,
}

/// The headers of POST /jobs.
#[derive(Debug, Clone, IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes the header in the OpenAPI document; the handler reads it itself")]
pub(crate) struct SubmissionHeaders {
    /// The idempotency key. Two submissions with the same key within a day are one job.
    #[param(
        rename = "Idempotency-Key",
        required = false,
        min_length = 1,
        max_length = 255,
        pattern = "^[!-~]+$"
    )]
    pub(crate) idempotency_key: String,
}

/// An agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Agent {
    /// The agent's id, which a job names in `agentIds`.
    pub(crate) agent_id: String,
    /// The agent's name, for people.
    pub(crate) agent_name: String,
    /// The agent's description, with the names of its tools.
    pub(crate) agent_description: String,
    /// Examples of queries for the agent.
    pub(crate) sample_queries: Vec<String>,
    /// The state of the list of tools.
    pub(crate) status: AgentStatus,
    /// The reason why the agent is not `available`, or the tools that are left out.
    #[schema(required)]
    pub(crate) status_reason: Option<String>,
    /// The names of the agent's tools.
    pub(crate) tools: Vec<String>,
}

/// The state of an agent's list of tools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AgentStatus {
    /// The MCP server listed the tools, and the list is fresh.
    Available,
    /// The MCP server failed. The list has the last known tools.
    Stale,
    /// The MCP server failed, and no tools are known.
    Unavailable,
    /// A user must sign in. The list has the last known tools, if there are any.
    NeedsSignIn,
}

/// A job, without its transcript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Job {
    /// The job's id. The id of a later job sorts after that of an earlier one.
    pub(crate) job_id: String,
    /// The job's status.
    pub(crate) status: JobStatus,
    /// The query.
    pub(crate) query: String,
    /// The ids of the agents, as a JSON text: an array.
    pub(crate) agent_ids: String,
    /// The time of the submission, UTC with microseconds: `2026-01-31T09:30:00.000000Z`.
    pub(crate) created_at: String,
    /// The time at which the job ended.
    #[schema(required)]
    pub(crate) completed_at: Option<String>,
    /// The answer, as a JSON text: `{responseType, metadata, content | tableData | plotData}`.
    #[schema(required)]
    pub(crate) result: Option<String>,
    /// The reason why the job failed.
    #[schema(required)]
    pub(crate) error: Option<String>,
}

/// The status of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum JobStatus {
    /// The job is submitted and has not started.
    Pending,
    /// The job is running.
    Processing,
    /// The job ended with a result.
    Completed,
    /// The job ended with an error.
    Failed,
}

/// A job with its transcript and the usage of its run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FullJob {
    /// The job.
    #[serde(flatten)]
    pub(crate) job: Job,
    /// The transcript so far, as a JSON text: an array of `Message`. Long texts in it may be elided.
    #[schema(required)]
    pub(crate) agent_messages: Option<String>,
    /// The usage of the run, as a JSON text: an object `Usage`.
    #[schema(required)]
    pub(crate) usage: Option<String>,
}

/// A page of jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobPage {
    /// The jobs, the newest first.
    pub(crate) items: Vec<Job>,
    /// The token for the next page, if there is one.
    #[schema(required)]
    pub(crate) next_token: Option<String>,
}

/// The transcript of a job.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct Messages {
    /// The messages, in order, as they were stored.
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

/// Returns the header `Idempotency-Key`, if there is one.
pub(crate) fn idempotency_key(headers: &axum::http::HeaderMap) -> Result<Option<&str>, HttpError> {
    let key = headers.get("idempotency-key").map(|key| key.to_str());
    let problem = "Idempotency-Key must be 1 to 255 visible ASCII characters";
    key.transpose().map_err(|_| HttpError::invalid_request(problem))
}

fn page_size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|_| serde::de::Error::custom("is not a number"))
}
