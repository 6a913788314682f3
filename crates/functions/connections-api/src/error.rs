//! The errors of the connections API: for each a kind, a code, a message, and a remedy.
//!
//! Messages and remedies of a sign-in may quote an authorization server, which knows the secrets of one entry. Those
//! secrets are removed when the error is made, so that every [`ApiError`] can be shown and logged as it is.

use std::borrow::Cow;

use auth::{AuthError, OAuthError, Place};
use catalog::SourceError;
use edge::ErrorKind;
use mcp::McpServer;
use vault::VaultError;

/// An error of a request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// 400: `OAUTH_ALLOWED_ORIGINS` does not name the origin of the page that waits.
    #[error("origin is not one of the allowed origins")]
    OriginNotAllowed,
    /// 403: the user is not an administrator.
    #[error("this needs membership in the group Admin")]
    NotAdmin,
    /// 404: there is no agent with the id.
    #[error("there is no agent with this id")]
    NoAgent,
    /// 404: there is no sign-in to delete.
    #[error("nobody has signed in to this agent, or the sign-in is not yours")]
    NoConnection,
    /// 409: the agent does not use OAuth.
    #[error("this agent is not signed in to with OAuth")]
    NotOAuth,
    /// 400, 403, 409, 502 or 503: an error of OAuth or of signing in a client.
    #[error("{}", .0.message)]
    SignIn(SignInError),
    /// 502: the secret cannot be used. The message is for the person who edits the secret, and quotes no content.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// An error of a sign-in, without secrets.
#[derive(Debug)]
pub(crate) struct SignInError {
    kind: ErrorKind,
    code: &'static str,
    message: String,
    remedy: String,
}

impl ApiError {
    /// Converts an error of OAuth at this server. Removes the secrets of the server's entry.
    pub(crate) fn oauth(error: &OAuthError, server: &McpServer) -> Self {
        Self::SignIn(SignInError {
            kind: oauth_kind(error.bare()),
            code: error.kind(),
            message: server.scrub(error.to_string()),
            remedy: server.scrub(error.remedy().into_owned()),
        })
    }

    /// Converts an error of signing in a client at this server. Removes the secrets of the server's entry.
    pub(crate) fn auth(error: &AuthError, server: &McpServer) -> Self {
        Self::SignIn(SignInError {
            kind: ErrorKind::BadGateway,
            code: error.kind(),
            message: server.scrub(error.to_string()),
            remedy: server.scrub(error.remedy().into_owned()),
        })
    }

    /// Converts an error about a state, which holds no text of an authorization server.
    pub(crate) fn state(error: &OAuthError) -> Self {
        Self::SignIn(SignInError {
            kind: oauth_kind(error.bare()),
            code: error.kind(),
            message: error.to_string(),
            remedy: error.remedy().into_owned(),
        })
    }

    /// Converts an error of OAuth at a server whose entry cannot be read. Leaves out the error's texts, because the
    /// secrets to remove from them are not known.
    pub(crate) fn without_texts(error: &OAuthError) -> Self {
        Self::SignIn(SignInError {
            kind: oauth_kind(error.bare()),
            code: error.kind(),
            message: "the sign-in failed; details are not shown, because the agent's entry cannot be read"
                .to_owned(),
            remedy: "correct the secret; mcp-agents doctor checks it".to_owned(),
        })
    }

    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::OriginNotAllowed => ErrorKind::InvalidRequest,
            Self::NotAdmin => ErrorKind::Forbidden,
            Self::NoAgent | Self::NoConnection => ErrorKind::NotFound,
            Self::NotOAuth => ErrorKind::Conflict,
            Self::SignIn(error) => error.kind,
            Self::Source(_) => ErrorKind::BadGateway,
        }
    }

    /// Returns the error's code, for programs.
    pub(crate) fn code(&self) -> Cow<'static, str> {
        match self {
            Self::OriginNotAllowed => "origin_not_allowed".into(),
            Self::NotOAuth => "not_oauth".into(),
            Self::SignIn(error) => error.code.into(),
            Self::Source(error) => edge::snake_case(error.kind()).into(),
            other => other.kind().code().into(),
        }
    }

    /// Returns what the user or an administrator can do about the error.
    pub(crate) fn remedy(&self) -> Cow<'static, str> {
        let fixed = match self {
            Self::SignIn(error) => return error.remedy.clone().into(),
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
        | OAuthError::Refused { place: Place::Authorization, .. }
        | OAuthError::NoCode
        | OAuthError::IssMissing { .. }
        | OAuthError::IssMismatch { .. }
        | OAuthError::OtherRedirect { .. } => ErrorKind::InvalidRequest,
        OAuthError::Store(VaultError::Changed) => ErrorKind::Conflict,
        OAuthError::Store(_) => ErrorKind::Unavailable,
        _ => ErrorKind::BadGateway,
    }
}

#[cfg(test)]
mod tests {
    use auth::{ApiKeyConfig, AuthConfig};
    use egress::Shown;

    use super::*;

    fn server(key: &str) -> McpServer {
        let key = ApiKeyConfig::new(Some("x-api-key"), None, &key.into()).unwrap();
        McpServer::new("https://a.example/mcp".parse().unwrap(), AuthConfig::ApiKey(key))
    }

    #[test]
    fn an_error_is_shown_without_the_secrets_of_its_own_entry_and_of_no_other() {
        let issuer = Shown::new("https://own-secret.example/other-secret");
        let error = OAuthError::NotOffered { issuer, lacks: "offers nothing" };
        let shown = ApiError::oauth(&error, &server("own-secret")).to_string();
        assert!(!shown.contains("own-secret") && shown.contains("other-secret"), "{shown}");
        let hidden = ApiError::without_texts(&error).to_string();
        assert!(!hidden.contains("secret.example"), "{hidden}");
    }
}
