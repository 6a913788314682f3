//! The authentication of a request: the extractor [`Member`], and what it verifies credentials with.
//!
//! A credential is verified only where a handler takes [`Member`]; routes that are open to everybody verify nothing.

use std::sync::{Arc, OnceLock};

use axum::{
    extract::FromRequestParts,
    http::{header::AUTHORIZATION, request::Parts},
};
use identity::{AuthenticationError, Authenticator, Caller};
use jiff::Timestamp;

use crate::error::{ErrorKind, HttpError};

/// What a router verifies credentials with.
#[derive(Clone)]
pub struct Authentication {
    authenticator: Authenticator,
    clock: fn() -> Timestamp,
}

/// The caller of a request once it is verified, for the access log line.
#[derive(Debug, Clone, Default)]
pub(crate) struct VerifiedCaller(Arc<OnceLock<Caller>>);

/// The extractor of a caller who may list agents and run jobs. Refuses a request without a verified caller with 401, and
/// a caller in none of the groups with 403.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member(pub Caller);

impl Authentication {
    /// Verifies credentials with `authenticator` at the time of `clock`.
    pub fn new(authenticator: Authenticator, clock: fn() -> Timestamp) -> Self {
        Self { authenticator, clock }
    }

    async fn caller(&self, parts: &Parts) -> Result<Caller, AuthenticationError> {
        let header = parts.headers.get(AUTHORIZATION);
        let header =
            header.map(|value| value.to_str().map_err(|_| AuthenticationError::Malformed)).transpose()?;
        self.authenticator.caller(header, (self.clock)()).await
    }
}

impl VerifiedCaller {
    pub(crate) fn sub(&self) -> Option<&str> {
        self.0.get()?.user.sub.as_deref()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Member {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        let caller = verified_caller(parts).await?;
        if let Some(verified) = parts.extensions.get::<VerifiedCaller>() {
            // Set once: a request has one caller.
            let _ = verified.0.set(caller.clone());
        }
        if caller.may_use_agents() {
            Ok(Self(caller))
        } else {
            Err(HttpError::forbidden("Admin, Author or Viewer"))
        }
    }
}

/// Returns the caller that an authorizer in front of the function has verified, otherwise the caller of the request's own
/// credential.
async fn verified_caller(parts: &Parts) -> Result<Caller, HttpError> {
    if let Some(caller) = parts.extensions.get::<Caller>() {
        return Ok(caller.clone());
    }
    let Some(authentication) = parts.extensions.get::<Authentication>() else {
        return Err(HttpError::unauthenticated(&AuthenticationError::Missing));
    };
    authentication.caller(parts).await.map_err(|error| match &error {
        AuthenticationError::KeysUnavailable { .. } => {
            tracing::error!(%error, "External MCP: a caller could not be verified");
            HttpError::new(ErrorKind::Unavailable, "the caller could not be verified now")
                .with_remedy("try again; if that fails too, look into the function's log")
        }
        _ => HttpError::unauthenticated(&error),
    })
}
