//! Responses that several routes share, as the OpenAPI document lists them. Nothing builds these types at run time.

use edge::ErrorBody;
use utoipa::IntoResponses;

/// Errors of every route that needs a caller.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the OpenAPI document")]
pub(super) enum CallerErrors {
    /// The request carries no credential, or one that is not valid; the message says why.
    #[response(status = 401)]
    Unauthenticated(ErrorBody),
    /// The user is in none of the groups, is not an Admin where that is required, or did not start this sign-in.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// The MCP server or its authorization server failed or refused, or the secret cannot be used; `error` says which.
    #[response(status = 502)]
    BadGateway(ErrorBody),
    /// The table or key of the stack did not answer; try again.
    #[response(status = 503)]
    Unavailable(ErrorBody),
    /// The MCP server or its authorization server did not answer in time.
    #[response(status = 504)]
    Timeout(ErrorBody),
}

/// Errors of every route about one agent or one sign-in.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the OpenAPI document")]
pub(super) enum AgentErrors {
    /// The request or the state is wrong.
    #[response(status = 400)]
    InvalidRequest(ErrorBody),
    /// There is no such agent or sign-in.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// The agent does not use OAuth, a client must be registered first, or the user has not come back yet.
    #[response(status = 409)]
    Conflict(ErrorBody),
}

/// Errors of every route that takes a body.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the OpenAPI document")]
pub(super) enum BodyErrors {
    /// The body is larger than 1 MB.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// The body is not JSON.
    #[response(status = 415)]
    UnsupportedMediaType(ErrorBody),
}

/// Responses of the redirect URIs.
#[derive(IntoResponses)]
#[expect(dead_code, reason = "describes answers in the OpenAPI document")]
pub(super) enum Pages {
    /// A page: the user who started the sign-in can complete it now.
    #[response(status = 200, content_type = "text/html")]
    Arrived(String),
    /// A page: the problem, and what to do.
    #[response(status = 400, content_type = "text/html")]
    Refused(String),
    /// A page: the authorization server refused.
    #[response(status = 502, content_type = "text/html")]
    BadGateway(String),
    /// A page: the table or key of the stack did not answer.
    #[response(status = 503, content_type = "text/html")]
    Unavailable(String),
    /// The table or key of the stack did not answer in time.
    #[response(status = 504)]
    Timeout(ErrorBody),
}
