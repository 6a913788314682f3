//! The authentication of a request: the extractor [`Member`], and what it verifies credentials with.
//!
//! A credential is verified only where a handler takes [`Member`]; routes that are open to everybody verify nothing.

use std::sync::{Arc, OnceLock};

use axum::{
    extract::FromRequestParts,
    http::{header::AUTHORIZATION, request::Parts},
};
use identity::{AuthenticationError, Authenticator, Caller, Tenant, TenantError};
use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    error::{ErrorKind, HttpError},
    extract::Query,
};

/// What a router verifies credentials with.
#[derive(Clone)]
pub struct Authentication {
    authenticator: Authenticator,
    clock: fn() -> Timestamp,
}

/// A slot in the request's extensions: [`Member`] puts the verified caller into it, and the access log line reads it.
#[derive(Debug, Clone, Default)]
pub(crate) struct CallerSlot(Arc<OnceLock<Caller>>);

/// The extractor of a caller who may list agents and run jobs, and of the tenant that the request is about: the one that
/// the query names as `org`, otherwise the caller's only one, otherwise the default one.
///
/// Refuses a request without a verified caller with 401, a caller in none of the groups Admin, Author and Viewer with 403, a
/// tenant that is not the caller's with 404, and a request that has to name one of several tenants with 400 `org_needed`.
/// 503 if the signing keys cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The caller.
    pub caller: Caller,
    /// The tenant that the request is about.
    pub tenant: Tenant,
}

/// The query parameter that names a tenant.
#[derive(Debug, Deserialize)]
struct TenantQuery {
    org: Option<String>,
}

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

impl CallerSlot {
    pub(crate) fn sub(&self) -> Option<&str> {
        self.0.get()?.user.sub.as_deref()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Member {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let Some(authentication) = parts.extensions.get::<Authentication>().cloned() else {
            return Err(HttpError::unauthenticated(&AuthenticationError::Missing));
        };
        // The caller that an authorizer in front of the function has verified goes before the request's own credential.
        let caller = match parts.extensions.get::<Caller>() {
            Some(caller) => caller.clone(),
            None => authentication.caller(parts).await.map_err(|error| authentication_error(&error))?,
        };
        if let Some(slot) = parts.extensions.get::<CallerSlot>() {
            // Set once: a request has one caller.
            let _ = slot.0.set(caller.clone());
        }
        if !caller.may_use_agents() {
            return Err(HttpError::forbidden("Admin, Author or Viewer"));
        }
        let Query(named) = Query::<TenantQuery>::from_request_parts(parts, state).await?;
        let tenant = authentication.authenticator.tenant(&caller, named.org.as_deref());
        let tenant = tenant.map_err(|error| tenant_error(&error))?;
        Ok(Self { caller, tenant })
    }
}

fn tenant_error(error: &TenantError) -> HttpError {
    match error {
        TenantError::Needed(_) => HttpError::invalid_field("org", &error.to_string())
            .with_code("org_needed")
            .with_remedy("name one of your tenants: ?org=NAME"),
        TenantError::Unknown => HttpError::new(ErrorKind::NotFound, error.to_string()),
    }
}

fn authentication_error(error: &AuthenticationError) -> HttpError {
    match error {
        AuthenticationError::KeysUnavailable { .. } => {
            tracing::error!(%error, "External MCP: a caller could not be verified");
            HttpError::new(ErrorKind::Unavailable, "the caller could not be verified now").with_remedy(
                "try again; if that fails too, an administrator finds the reason in the function's log",
            )
        }
        _ => HttpError::unauthenticated(error),
    }
}
