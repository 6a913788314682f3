//! Error responses of the connections API: a code, a message, and a remedy.

use std::borrow::Cow;

use auth::{AuthError, Endpoint, OAuthError};
use catalog::SourceError;
use edge::ErrorKind;
use vault::VaultError;

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// 400: the origin of the page that waits is not named in `OAUTH_ALLOWED_ORIGINS`.
    #[error("origin is not one of the allowed origins")]
    OriginNotAllowed,
    /// 403: the user is no administrator.
    #[error("this needs membership in the group Admin")]
    NotAdmin,
    /// 404: no such agent.
    #[error("there is no agent with this id")]
    NoAgent,
    /// 404: nothing to take back.
    #[error("nobody has signed in to this agent, or the sign-in is not yours")]
    NoConnection,
    /// 409: the agent is signed in to otherwise.
    #[error("this agent is not signed in to with OAuth")]
    NotOAuth,
    /// 400, 403, 409, 502 or 503: OAuth's own.
    #[error(transparent)]
    OAuth(#[from] OAuthError),
    /// 502: signing in a client.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// 502: the secret cannot be used. Its message is for the person who edits it, and holds no content.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl ApiError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::OriginNotAllowed => ErrorKind::InvalidRequest,
            Self::NotAdmin => ErrorKind::Forbidden,
            Self::NoAgent | Self::NoConnection => ErrorKind::NotFound,
            Self::NotOAuth => ErrorKind::Conflict,
            Self::OAuth(error) => oauth_kind(error.innermost()),
            Self::Auth(_) | Self::Source(_) => ErrorKind::BadGateway,
        }
    }

    /// The error's code, for programs.
    pub(crate) fn code(&self) -> Cow<'static, str> {
        match self {
            Self::OriginNotAllowed => "origin_not_allowed".into(),
            Self::NotOAuth => "not_oauth".into(),
            Self::OAuth(error) => error.kind().into(),
            Self::Auth(error) => error.kind().into(),
            Self::Source(error) => edge::snake_case(error.kind()).into(),
            other => other.kind().code().into(),
        }
    }

    /// What to do about it. It may quote an authorization server: secrets are taken out before it is shown.
    pub(crate) fn remedy(&self) -> Cow<'static, str> {
        let fixed = match self {
            Self::OAuth(error) => return error.remedy(),
            Self::Auth(error) => return error.remedy(),
            Self::OriginNotAllowed => {
                "name the page's origin in the stack's parameter OAuthAllowedOrigins, or leave origin out"
            }
            Self::NotAdmin => "sign in as a user of the group Admin",
            Self::NoAgent => "GET /agents lists the agents",
            Self::NoConnection => "nothing is left to do",
            Self::NotOAuth => "set auth_type to oauth2 in its entry if that is wrong",
            Self::Source(_) => "correct the secret; mcp-agents doctor checks it",
        };
        fixed.into()
    }
}

fn oauth_kind(error: &OAuthError) -> ErrorKind {
    match error {
        OAuthError::OtherUser => ErrorKind::Forbidden,
        OAuthError::NotYet | OAuthError::ClientNeeded { .. } | OAuthError::IssuerChanged { .. } => {
            ErrorKind::Conflict
        }
        OAuthError::State
        | OAuthError::Refused { endpoint: Endpoint::Authorization, .. }
        | OAuthError::NoCode
        | OAuthError::IssMissing { .. }
        | OAuthError::IssMismatch { .. }
        | OAuthError::OtherRedirect { .. } => ErrorKind::InvalidRequest,
        OAuthError::Store(VaultError::Changed) => ErrorKind::Conflict,
        OAuthError::Store(_) => ErrorKind::Unavailable,
        _ => ErrorKind::BadGateway,
    }
}
