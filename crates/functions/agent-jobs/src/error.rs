//! What is answered when something is not: to a person, with what to do; internals stay in the log.

use catalog::SecretError;
use jobs::JobError;

/// Why a request is not answered. Each says its HTTP status; resolvers get its name as the error type.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// 400: the request is wrong.
    #[error("{0}")]
    BadRequest(String),
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
    /// 502: the secret cannot be used. Its message is for whoever edits it, and holds no content.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// 503: a table or the processor did not answer.
    #[error("the backend did not answer: try again in a moment")]
    Unavailable,
}

impl ApiError {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::Unauthenticated => 401,
            Self::Unauthorized => 403,
            Self::NotFound(_) => 404,
            Self::Method(_) => 405,
            Self::Conflict => 409,
            Self::Secret(_) => 502,
            Self::Unavailable => 503,
        }
    }

    /// The error's name: `error` over HTTP, the error type for resolvers.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "BadRequest",
            Self::Unauthenticated | Self::Unauthorized => "Unauthorized",
            Self::NotFound(_) => "NotFound",
            Self::Method(_) => "MethodNotAllowed",
            Self::Conflict => "Conflict",
            Self::Secret(error) => error.error_type(),
            Self::Unavailable => "InternalError",
        }
    }
}

impl From<runtime::BadRequest> for ApiError {
    fn from(error: runtime::BadRequest) -> Self {
        Self::BadRequest(error.to_string())
    }
}

impl From<JobError> for ApiError {
    fn from(error: JobError) -> Self {
        tracing::error!(%error, "External MCP: the job table did not answer");
        Self::Unavailable
    }
}
