//! The HTTP routes of the jobs API, each with its part of the OpenAPI document.
//!
//! The extractor `Member` verifies the caller. `GET /openapi.json` returns the checked-in `docs/openapi.json`, which
//! describes these routes and those of the connections API; a test compares it with the handlers of both.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use edge::{Authentication, Deadline, ErrorBody, HttpError, Json, Margins, Member, Path, Query};
use serde_json::Value;
use utoipa::{
    IntoResponses, Modify, OpenApi,
    openapi::{
        self,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use crate::{
    api::Api,
    dto::{
        self, Agent, AgentsQuery, FullJob, Job, JobPage, JobsQuery, Messages, Submission, SubmissionHeaders,
    },
    error::ApiError,
};

/// The OpenAPI document of the whole API.
pub const OPENAPI: &str = include_str!("../../../../docs/openapi.json");

/// The list of agents is returned 2 s before the end with the tools known by then, which leaves a token refresh 1.5 s.
pub(crate) const MARGINS: Margins = Margins::with_deadline(Duration::from_secs(2));

#[derive(OpenApi)]
#[openapi(
    info(
        title = "mcp-agents",
        version = "1",
        description = "Lists agents, submits, shows and deletes the caller's jobs, and signs the caller in to the MCP servers behind agents. The caller is the user of the verified token. A user cannot see another user's jobs or use another user's sign-ins.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    servers((url = "/", description = "The stack's API: its output JobsApiUrl.")),
    security(("cognito" = [])),
    components(schemas(ErrorBody, run_record::Message, run_record::Usage)),
    modifiers(&Cognito),
)]
struct Document;

/// Adds the security scheme to the document.
struct Cognito;

impl Modify for Cognito {
    fn modify(&self, document: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("An access or ID token of the stack's user pool."));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("cognito", SecurityScheme::Http(scheme.build()));
    }
}

/// Errors of every route that needs a caller.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the OpenAPI document")]
enum CallerErrors {
    /// The request carries no credential, or one that is not valid; the message says why.
    #[response(status = 401)]
    Unauthenticated(ErrorBody),
    /// The user is in none of the groups Admin, Author, Viewer.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// A table or function did not answer; try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
    /// The answer was not ready in time; try again.
    #[response(status = 504)]
    Timeout(ErrorBody),
}

edge::routes! {
    state: Arc<Api>,
    document: Document,
    handlers: [list_agents, submit_job, list_jobs, get_job, delete_job, get_messages, get_open_api],
}

/// Returns the router of the jobs API.
pub fn router(api: Arc<Api>) -> Router {
    let authentication = Authentication::new(api.authenticator().clone(), runtime::now);
    edge::serve(routes(), api, MARGINS, authentication, |api, until| async move { api.settled(until).await })
}

/// Lists the agents with their tools
#[utoipa::path(
    get,
    path = "/agents",
    operation_id = "listAgents",
    params(AgentsQuery),
    responses(
        (status = 200, description = "The agents, in the order of the secret.", body = Vec<Agent>),
        (status = 400, description = "refresh is neither true nor false.", body = ErrorBody),
        CallerErrors,
        (status = 502, description = "The secret cannot be used; the message says why.", body = ErrorBody),
    ),
)]
async fn list_agents(
    State(api): State<Arc<Api>>,
    Member { caller, .. }: Member,
    Query(query): Query<AgentsQuery>,
    Deadline(until): Deadline,
) -> Result<Json<Vec<Agent>>, ApiError> {
    let agents = api.agents(&caller.user, query.freshness(), until).await?;
    Ok(Json(agents.into_iter().map(Agent::from).collect()))
}

/// Submits a query to agents
#[utoipa::path(
    post,
    path = "/jobs",
    operation_id = "submitJob",
    params(SubmissionHeaders),
    request_body = Submission,
    responses(
        (status = 202, description = "The job, which starts now.", body = Job),
        (status = 400, description = "The submission is wrong; the message says what is wrong.", body = ErrorBody),
        CallerErrors,
        (status = 409, description = "The Idempotency-Key was used for another job.", body = ErrorBody),
        (status = 413, description = "The body is larger than 1 MB.", body = ErrorBody),
        (status = 415, description = "The body is not JSON.", body = ErrorBody),
        (
            status = 429,
            description = "The user has reached a quota; the message says which one, and when a job can be submitted again.",
            body = ErrorBody,
            headers(("Retry-After" = i64, description = "The number of seconds after which a job can be submitted, if that is known.")),
        ),
    ),
)]
async fn submit_job(
    State(api): State<Arc<Api>>,
    Member { caller, tenant }: Member,
    headers: HeaderMap,
    Json(submission): Json<Submission>,
) -> Result<(StatusCode, Json<Job>), HttpError> {
    let job = api.submit(&caller.user, &tenant, &submission, dto::idempotency_key(&headers)?).await?;
    Ok((StatusCode::ACCEPTED, Json(job.into())))
}

/// Lists the caller's jobs, the newest first
#[utoipa::path(
    get,
    path = "/jobs",
    operation_id = "listJobs",
    params(JobsQuery),
    responses(
        (status = 200, description = "A page of jobs.", body = JobPage),
        (status = 400, description = "limit or nextToken is wrong.", body = ErrorBody),
        CallerErrors,
    ),
)]
async fn list_jobs(
    State(api): State<Arc<Api>>,
    Member { caller, .. }: Member,
    Query(query): Query<JobsQuery>,
) -> Result<Json<JobPage>, ApiError> {
    api.list(&caller.user, query.limit, query.next_token.as_deref()).await.map(Json)
}

/// Returns a job with its transcript, in which long texts may be elided
#[utoipa::path(
    get,
    path = "/jobs/{id}",
    operation_id = "getJob",
    params(("id" = String, Path, description = "The job's id.", min_length = 1)),
    responses(
        (status = 200, description = "The job.", body = FullJob),
        CallerErrors,
        (status = 404, description = "The caller has no such job.", body = ErrorBody),
    ),
)]
async fn get_job(
    State(api): State<Arc<Api>>,
    Member { caller, .. }: Member,
    Path(id): Path<String>,
) -> Result<Json<FullJob>, ApiError> {
    let job = api.job(&caller.user, &id).await?.ok_or(ApiError::NoJob)?;
    Ok(Json(job.into()))
}

/// Deletes a job and ends its run
#[utoipa::path(
    delete,
    path = "/jobs/{id}",
    operation_id = "deleteJob",
    params(("id" = String, Path, description = "The job's id.", min_length = 1)),
    responses(
        (status = 204, description = "The job is deleted."),
        CallerErrors,
        (status = 404, description = "The caller has no such job.", body = ErrorBody),
    ),
)]
async fn delete_job(
    State(api): State<Arc<Api>>,
    Member { caller, .. }: Member,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let was_there = api.delete(&caller.user, &id).await?;
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::NoJob) }
}

/// Returns the whole transcript of a job
#[utoipa::path(
    get,
    path = "/jobs/{id}/messages",
    operation_id = "getMessages",
    params(("id" = String, Path, description = "The job's id.", min_length = 1)),
    responses(
        (status = 200, description = "The messages, in order.", body = Messages),
        CallerErrors,
        (status = 404, description = "The caller has no such job.", body = ErrorBody),
    ),
)]
async fn get_messages(
    State(api): State<Arc<Api>>,
    Member { caller, .. }: Member,
    Path(id): Path<String>,
) -> Result<Json<Messages>, ApiError> {
    let messages = api.messages(&caller.user, &id).await?.ok_or(ApiError::NoJob)?;
    Ok(Json(Messages { messages }))
}

/// Returns this document
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "getOpenApi",
    security(()),
    responses((status = 200, description = "This document.", body = Object)),
)]
async fn get_open_api() -> Json<Value> {
    Json(serde_json::from_str(OPENAPI).unwrap_or_default())
}
