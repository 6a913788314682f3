//! Error responses: a machine-readable code, a message, and a remedy; and the table of statuses and codes.
//!
//! Error pages for browsers and the errors of resolvers have other forms, and are not made here.

use std::{borrow::Cow, collections::BTreeMap};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use identity::AuthenticationError;
use serde::Serialize;
use utoipa::ToSchema;

use crate::json_response::json_response;

/// A row of the table of statuses: an HTTP status and its default code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// 400 `invalid_request`: the path, the query or the body is wrong.
    InvalidRequest,
    /// 401 `unauthenticated`: the request has no verified caller.
    Unauthenticated,
    /// 403 `forbidden`: the caller is in none of the groups that may do this.
    Forbidden,
    /// 404 `not_found`: there is no such route, or the caller has no such resource.
    NotFound,
    /// 405 `method_not_allowed`: the path exists, with other methods. The header `Allow` names them.
    MethodNotAllowed,
    /// 409 `conflict`: the state of the resource does not allow this.
    Conflict,
    /// 412 `precondition_failed`: the resource does not have the version that the request names.
    PreconditionFailed,
    /// 413 `body_too_large`: the body is larger than 1 MB.
    BodyTooLarge,
    /// 415 `unsupported_media_type`: the body is not JSON.
    UnsupportedMediaType,
    /// 429 `quota_exceeded`: a quota of the caller is used up.
    QuotaExceeded,
    /// 502 `bad_gateway`: a server behind this API refused or failed.
    BadGateway,
    /// 503 `unavailable`: a table, a key or a function of the stack did not answer.
    Unavailable,
    /// 504 `timeout`: the answer was not ready in time.
    Timeout,
}

impl ErrorKind {
    /// Returns the HTTP status and the default code.
    pub fn status_and_code(self) -> (StatusCode, &'static str) {
        match self {
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::Unauthenticated => (StatusCode::UNAUTHORIZED, "unauthenticated"),
            Self::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Conflict => (StatusCode::CONFLICT, "conflict"),
            Self::PreconditionFailed => (StatusCode::PRECONDITION_FAILED, "precondition_failed"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Self::QuotaExceeded => (StatusCode::TOO_MANY_REQUESTS, "quota_exceeded"),
            Self::BadGateway => (StatusCode::BAD_GATEWAY, "bad_gateway"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Timeout => (StatusCode::GATEWAY_TIMEOUT, "timeout"),
        }
    }

    /// Returns the HTTP status.
    pub fn status(self) -> StatusCode {
        self.status_and_code().0
    }

    /// Returns the default code.
    pub fn code(self) -> &'static str {
        self.status_and_code().1
    }
}

/// The body of every error response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Error)]
pub struct ErrorBody {
    /// The code, for programs, in snake_case: `not_found`, `quota_exceeded`, or a code of OAuth such as `client_needed`.
    #[schema(pattern = "^[a-z0-9_]+$")]
    pub error: Cow<'static, str>,
    /// A text that says what happened. It may quote the `error` and `error_description` of an authorization server.
    pub message: String,
    /// A text that says what the caller can do, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub remedy: Option<Cow<'static, str>>,
    /// Problems of single fields of the query or the body, by the field's name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub errors: BTreeMap<String, Vec<String>>,
}

/// An error response: a status and an [`ErrorBody`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpError {
    status: StatusCode,
    body: ErrorBody,
    retry_after_seconds: Option<u64>,
}

impl HttpError {
    /// Returns an error of this kind with its default code.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let (status, code) = kind.status_and_code();
        let body =
            ErrorBody { error: code.into(), message: message.into(), remedy: None, errors: BTreeMap::new() };
        Self { status, body, retry_after_seconds: None }
    }

    /// Replaces the default code with a more exact one.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<Cow<'static, str>>) -> Self {
        self.body.error = code.into();
        self
    }

    /// Adds the remedy: what the caller can do.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<Cow<'static, str>>) -> Self {
        self.body.remedy = Some(remedy.into());
        self
    }

    /// Adds a problem of one field.
    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>, problem: impl Into<String>) -> Self {
        self.body.errors.entry(field.into()).or_default().push(problem.into());
        self
    }

    /// Adds the header `Retry-After`, in seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_seconds = Some(seconds);
        self
    }

    /// Returns 400 for a wrong field of the query or the body.
    pub fn invalid_field(field: &str, problem: &str) -> Self {
        Self::invalid_request(format!("{field}: {problem}")).with_field(field, problem)
    }

    /// Returns 400 for a wrong request.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidRequest, message)
            .with_remedy("correct the request; GET /openapi.json describes it")
    }

    /// Returns 401 for a request without a verified caller, with the reason.
    pub fn unauthenticated(error: &AuthenticationError) -> Self {
        let remedy =
            "send the header Authorization: Bearer TOKEN with an access token or ID token of the user pool";
        Self::new(ErrorKind::Unauthenticated, error.to_string()).with_remedy(remedy)
    }

    /// Returns 403 for a caller who is in none of the groups that may do this. `groups` are their names as written in a
    /// sentence.
    pub fn forbidden(groups: &str) -> Self {
        Self::new(ErrorKind::Forbidden, format!("this needs membership in the group {groups}"))
            .with_remedy("sign in as a user of such a group, or ask an administrator to add you to it")
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let mut response = json_response(self.status, &self.body);
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1 requires it. API Gateway renames it.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Converts a type's name in PascalCase to a code: `SecretNotFound` becomes `secret_not_found`.
pub fn snake_case(name: &str) -> String {
    let mut code = String::with_capacity(name.len() + 4);
    for character in name.chars() {
        if character.is_ascii_uppercase() && !code.is_empty() {
            code.push('_');
        }
        code.push(character.to_ascii_lowercase());
    }
    code
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_body_leaves_out_empty_fields() {
        let check = |error: HttpError, expected: serde_json::Value| {
            assert_eq!(serde_json::to_value(error.body).unwrap(), expected);
        };
        check(HttpError::new(ErrorKind::Conflict, "m"), json!({"error": "conflict", "message": "m"}));
        check(
            HttpError::new(ErrorKind::Conflict, "m").with_code("not_oauth").with_remedy("r"),
            json!({"error": "not_oauth", "message": "m", "remedy": "r"}),
        );
        check(
            HttpError::invalid_field("limit", "must be a number"),
            json!({
                "error": "invalid_request", "message": "limit: must be a number",
                "remedy": "correct the request; GET /openapi.json describes it",
                "errors": {"limit": ["must be a number"]},
            }),
        );
    }

    #[test]
    fn the_time_to_wait_is_sent_as_retry_after() {
        let response = HttpError::new(ErrorKind::QuotaExceeded, "m").with_retry_after(7).into_response();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (429, &HeaderValue::from(7))
        );
    }

    #[test]
    fn a_type_name_is_converted_to_a_code() {
        assert_eq!(snake_case("SecretNotFound"), "secret_not_found");
        assert_eq!(snake_case("timeout"), "timeout");
    }
}
