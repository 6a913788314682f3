//! What is answered when something is not: to a person, with what to do; internals stay in the log.

use catalog::SourceError;
use jiff::Timestamp;
use jobs::{JobError, QuotaExceeded};

/// Why a request is not answered. Each says its HTTP status; resolvers get its name as the error type.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// 400: the request is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// 400: a submission without a query.
    #[error("Query is required")]
    QueryMissing,
    /// 400: a submission with a query that is too long.
    #[error("Query exceeds the maximum length of 100,000 characters")]
    QueryTooLong,
    /// 400: a submission that names no agent.
    #[error("At least one agent ID is required")]
    NoAgents,
    /// 401: nobody is signed in.
    #[error("sign in first: this needs a signed-in user, not an API key")]
    Unauthenticated,
    /// 403: the user is in none of the groups.
    #[error("this needs membership in the group Admin, Author or Viewer")]
    Unauthorized,
    /// 404: no such job of this user, or no such route.
    #[error("{0}")]
    NotFound(String),
    /// 405: the route has no such method.
    #[error("this route does not take {0}")]
    Method(String),
    /// 409: the idempotency key stands for another job.
    #[error("this Idempotency-Key was used for another query, or its job was deleted: use a new key")]
    Conflict,
    /// 429: the user has used up a quota, at that time.
    #[error("{}", told(*.0))]
    QuotaExceeded(QuotaExceeded, Timestamp),
    /// 502: the secret cannot be used. Its message is for whoever edits it, and holds no content.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// 503: a table or the processor did not answer.
    #[error("the backend did not answer: try again in a moment")]
    Unavailable,
}

impl ApiError {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) | Self::QueryMissing | Self::QueryTooLong | Self::NoAgents => 400,
            Self::Unauthenticated => 401,
            Self::Unauthorized => 403,
            Self::NotFound(_) => 404,
            Self::Method(_) => 405,
            Self::Conflict => 409,
            Self::QuotaExceeded(..) => 429,
            Self::Source(_) => 502,
            Self::Unavailable => 503,
        }
    }

    /// In how many seconds it may be tried again, where that is known.
    pub(crate) fn retry_after(&self) -> Option<i64> {
        match self {
            Self::QuotaExceeded(QuotaExceeded::Day { until, .. }, now) => {
                Some(until.duration_since(*now).as_secs() + 1)
            }
            _ => None,
        }
    }

    /// The error's name: `error` over HTTP, the error type for resolvers.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::BadRequest(_) | Self::QueryMissing | Self::QueryTooLong | Self::NoAgents => "BadRequest",
            Self::Unauthenticated | Self::Unauthorized => "Unauthorized",
            Self::NotFound(_) => "NotFound",
            Self::Method(_) => "MethodNotAllowed",
            Self::Conflict => "Conflict",
            Self::QuotaExceeded(..) => "quota_exceeded",
            Self::Source(error) => error.kind(),
            Self::Unavailable => "InternalError",
        }
    }

    /// The error's type as resolvers raise it. The accelerator's dispatcher turns the names of Python's own
    /// exceptions into statuses: `ValueError` into 400.
    pub(crate) fn resolver_type(&self) -> &'static str {
        if self.status() == 400 { "ValueError" } else { self.name() }
    }

    /// The message as resolvers raise it: the dispatcher makes 403 of what begins with `Unauthorized`, and the
    /// accelerator's page knows the original's words for wrong input.
    pub(crate) fn resolver_message(&self) -> String {
        match self {
            Self::QueryMissing => "Query parameter is required".to_owned(),
            Self::QueryTooLong => "Query exceeds maximum length of 100000 characters".to_owned(),
            Self::Unauthenticated | Self::Unauthorized => format!("Unauthorized: {self}"),
            other => other.to_string(),
        }
    }
}

fn told(exceeded: QuotaExceeded) -> String {
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

impl From<edge::BadRequest> for ApiError {
    fn from(error: edge::BadRequest) -> Self {
        Self::BadRequest(error.to_string())
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        tracing::error!(%error, "External MCP: the job table did not answer");
        Self::Unavailable
    }
}
