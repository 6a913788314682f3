//! What is answered when something is not: what is wrong, by a word, in words, and what to do.

use std::borrow::Cow;

use auth::{AuthError, OAuthError, Place};
use catalog::SourceError;
use edge::BadRequest;
use vault::VaultError;

/// Why a request is not answered. Each says its HTTP status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// 400: the request is wrong.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// 400: the origin of the page that waits is not named in `OAUTH_ALLOWED_ORIGINS`.
    #[error("origin is not one of the allowed origins")]
    OriginNotAllowed,
    /// 401: nobody is signed in.
    #[error("sign in first")]
    Unauthenticated,
    /// 403: the user is in none of the groups.
    #[error("this needs membership in the group {0}")]
    Unauthorized(&'static str),
    /// 404: no such route.
    #[error("there is no such route")]
    NoRoute,
    /// 404: no such agent.
    #[error("there is no agent with this id")]
    NoAgent,
    /// 404: nothing to take back.
    #[error("nobody has signed in to this agent, or the sign-in is not yours")]
    NoConnection,
    /// 409: the agent is signed in to otherwise.
    #[error("this agent is not signed in to with OAuth")]
    NotOAuth,
    /// 400, 403, 409 or 502: OAuth's own.
    #[error(transparent)]
    OAuth(#[from] OAuthError),
    /// 502: signing in a client.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// 504: somebody did not answer.
    #[error("the server or its authorization server did not answer in time")]
    TimedOut,
    /// 502: the secret cannot be used. Its message is for whoever edits it, and holds no content.
    #[error(transparent)]
    Source(#[from] SourceError),
}

impl ApiError {
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) | Self::OriginNotAllowed => 400,
            Self::Unauthenticated => 401,
            Self::Unauthorized(_) => 403,
            Self::NoRoute | Self::NoAgent | Self::NoConnection => 404,
            Self::NotOAuth => 409,
            Self::OAuth(error) => oauth_status(error.bare()),
            Self::Auth(_) | Self::Source(_) => 502,
            Self::TimedOut => 504,
        }
    }

    /// The error's name, for programs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::BadRequest(_) => "BadRequest",
            Self::OriginNotAllowed => "origin_not_allowed",
            Self::Unauthenticated | Self::Unauthorized(_) => "Unauthorized",
            Self::NoRoute | Self::NoAgent | Self::NoConnection => "NotFound",
            Self::NotOAuth => "NotOAuth",
            Self::TimedOut => "timeout",
            Self::OAuth(error) => error.kind(),
            Self::Auth(error) => error.kind(),
            Self::Source(error) => error.kind(),
        }
    }

    /// What to do about it. It may quote an authorization server: secrets are taken out before it is shown.
    pub(crate) fn remedy(&self) -> Cow<'static, str> {
        let fixed = match self {
            Self::OAuth(error) => return error.remedy(),
            Self::Auth(error) => return error.remedy(),
            Self::BadRequest(_) => "mend the request",
            Self::OriginNotAllowed => {
                "name the page's origin in the stack's parameter OAuthAllowedOrigins, or leave origin out"
            }
            Self::Unauthenticated | Self::Unauthorized(_) => "sign in as a user of the right group",
            Self::NoRoute => "see the README for the routes",
            Self::NoAgent => "GET /agents lists the agents",
            Self::NoConnection => "nothing is left to do",
            Self::NotOAuth => "set auth_type to oauth2 in its entry if that is wrong",
            Self::TimedOut => "see what keeps it, and start again",
            Self::Source(_) => "mend the secret",
        };
        fixed.into()
    }
}

fn oauth_status(error: &OAuthError) -> u16 {
    match error {
        OAuthError::OtherUser => 403,
        OAuthError::NotYet | OAuthError::ClientNeeded { .. } | OAuthError::IssuerChanged { .. } => 409,
        OAuthError::State
        | OAuthError::Refused { place: Place::Authorization, .. }
        | OAuthError::NoCode
        | OAuthError::IssMissing { .. }
        | OAuthError::IssMismatch { .. }
        | OAuthError::OtherRedirect { .. } => 400,
        OAuthError::Store(VaultError::Changed) => 409,
        OAuthError::Store(_) => 503,
        _ => 502,
    }
}
