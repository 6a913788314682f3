//! The errors of the jobs API: a code and a status over HTTP, a type for resolvers. Details of failures are logged only.

use axum::response::{IntoResponse, Response};
use catalog::SourceError;
use edge::{ErrorKind, HttpError};
use identity::TenantError;
use jiff::Timestamp;
use jobs::{JobError, QuotaExceeded};

/// An error of a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// 400: the request is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// 400: the request has to name one of the caller's tenants. The message lists them.
    #[error("{0}")]
    TenantNeeded(TenantError),
    /// 404: the caller does not belong to the tenant that the request names.
    #[error("{}", TenantError::Unknown)]
    NoTenant,
    /// 400: a field of the request is wrong.
    #[error("{1}")]
    BadField(&'static str, String),
    /// 400: a submission without a query.
    #[error("Query is required")]
    QueryMissing,
    /// 400: a submission whose query is too long.
    #[error("Query exceeds the maximum length of 100,000 characters")]
    QueryTooLong,
    /// 400: a submission that names no agent.
    #[error("At least one agent ID is required")]
    NoAgents,
    /// 401: a resolver's event has no user.
    #[error("sign in first: this needs a signed-in user, not an API key")]
    Unauthenticated,
    /// 403: the user is in none of the groups.
    #[error("this needs membership in the group Admin, Author or Viewer")]
    Unauthorized,
    /// 404: the user has no such job.
    #[error("there is no such job of yours")]
    NoJob,
    /// 409: the idempotency key was used for another job.
    #[error("this Idempotency-Key was used for another query, or its job was deleted: use a new key")]
    Conflict,
    /// 429: the user has reached a quota. The time is that of the request.
    #[error("{}", quota_message(*.0))]
    QuotaExceeded(QuotaExceeded, Timestamp),
    /// 502: the secret cannot be used. The message is for the person who edits the secret, and quotes no content.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// 503: a table or the processor did not answer.
    #[error("the backend did not answer: try again in a moment")]
    Unavailable,
}

impl ApiError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::BadRequest(_)
            | Self::BadField(..)
            | Self::TenantNeeded(_)
            | Self::QueryMissing
            | Self::QueryTooLong
            | Self::NoAgents => ErrorKind::InvalidRequest,
            Self::Unauthenticated => ErrorKind::Unauthenticated,
            Self::Unauthorized => ErrorKind::Forbidden,
            Self::NoJob | Self::NoTenant => ErrorKind::NotFound,
            Self::Conflict => ErrorKind::Conflict,
            Self::QuotaExceeded(..) => ErrorKind::QuotaExceeded,
            Self::Source(_) => ErrorKind::BadGateway,
            Self::Unavailable => ErrorKind::Unavailable,
        }
    }

    /// Returns the field of the request that is wrong.
    fn field(&self) -> Option<&'static str> {
        match self {
            Self::BadField(field, _) => Some(field),
            Self::QueryMissing | Self::QueryTooLong => Some("query"),
            Self::NoAgents => Some("agentIds"),
            _ => None,
        }
    }

    /// Returns what the user or an administrator can do about the error.
    fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::NoJob => Some("GET /jobs lists your jobs"),
            Self::Conflict => Some("use a new key"),
            Self::QuotaExceeded(..) => Some("wait, or delete a job that has not ended"),
            Self::Source(_) => Some("correct the secret; mcp-agents doctor checks it"),
            Self::Unavailable => {
                Some("try again; if that fails too, an administrator finds the reason in the function's log")
            }
            _ => None,
        }
    }

    /// Returns the error's type for resolvers. The accelerator's dispatcher converts the names of Python's exceptions to
    /// statuses: `ValueError` to 400.
    pub(crate) fn resolver_type(&self) -> &'static str {
        if self.kind() == ErrorKind::InvalidRequest { "ValueError" } else { self.type_name() }
    }

    /// Returns the error's type for the schedule and for unknown events.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.kind() {
            ErrorKind::InvalidRequest => "BadRequest",
            ErrorKind::Unauthenticated | ErrorKind::Forbidden => "Unauthorized",
            ErrorKind::NotFound => "NotFound",
            ErrorKind::Conflict => "Conflict",
            ErrorKind::QuotaExceeded => "quota_exceeded",
            _ => match self {
                Self::Source(error) => error.kind(),
                _ => "InternalError",
            },
        }
    }

    /// Returns the message for resolvers. The accelerator's dispatcher converts a message that begins with
    /// `Unauthorized` to 403, and the accelerator's page knows the accelerator's messages for wrong input.
    pub(crate) fn resolver_message(&self) -> String {
        match self {
            Self::QueryMissing => "Query parameter is required".to_owned(),
            Self::QueryTooLong => "Query exceeds maximum length of 100000 characters".to_owned(),
            Self::Unauthenticated | Self::Unauthorized => format!("Unauthorized: {self}"),
            other => other.to_string(),
        }
    }
}

impl From<TenantError> for ApiError {
    fn from(error: TenantError) -> Self {
        match error {
            TenantError::Needed(_) => Self::TenantNeeded(error),
            TenantError::Unknown => Self::NoTenant,
        }
    }
}

impl From<ApiError> for HttpError {
    fn from(error: ApiError) -> Self {
        let message = error.to_string();
        let mut answer = match error.kind() {
            ErrorKind::InvalidRequest => Self::invalid_request(&message),
            kind => Self::new(kind, &message),
        };
        if let Some(remedy) = error.remedy() {
            answer = answer.with_remedy(remedy);
        }
        if let Some(field) = error.field() {
            answer = answer.with_field(field, message);
        }
        match error {
            ApiError::Source(error) => answer.with_code(edge::snake_case(error.kind())),
            ApiError::QuotaExceeded(QuotaExceeded::Day { until, .. }, now) => {
                answer.with_retry_after(u64::try_from(until.duration_since(now).as_secs()).unwrap_or(0) + 1)
            }
            _ => answer,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        HttpError::from(self).into_response()
    }
}

fn quota_message(exceeded: QuotaExceeded) -> String {
    match exceeded {
        QuotaExceeded::Running(limit) => format!(
            "{limit} of your jobs have not ended, which is the most at once (MaxRunningJobsPerUser): submit again \
             when one of them has ended, or delete one"
        ),
        QuotaExceeded::Day { limit, until } => format!(
            "you have submitted {limit} jobs today, which is the most a day (MaxJobsPerDayPerUser): submit again \
             from {until} on"
        ),
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        tracing::error!(%error, "External MCP: the job table did not answer");
        Self::Unavailable
    }
}
