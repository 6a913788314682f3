//! Verifies the credential of an HTTP request, and chooses the tenant that a request is about.

use jiff::Timestamp;

use crate::{
    authorization::credential_of,
    caller::Caller,
    error::AuthenticationError,
    tenant::{Tenant, TenantError},
    user_pool::UserPool,
};

/// Verifies credentials of HTTP requests. Cheap to clone.
#[derive(Clone, Default)]
pub struct Authenticator {
    pool: Option<UserPool>,
    /// The tenant of users in no tenant's group.
    default_tenant: Tenant,
}

impl Authenticator {
    /// Accepts the tokens of `pool`; without a pool no token is accepted. `default_tenant` is the tenant of users in no
    /// tenant's group.
    pub fn new(pool: Option<UserPool>, default_tenant: Tenant) -> Self {
        Self { pool, default_tenant }
    }

    /// Returns the tenant that a request of `caller` is about; `named` is the one that the request names.
    ///
    /// # Errors
    /// [`TenantError`].
    pub fn tenant(&self, caller: &Caller, named: Option<&str>) -> Result<Tenant, TenantError> {
        caller.tenants(&self.default_tenant).choose(named).cloned()
    }

    /// Returns the caller that the value of the `Authorization` header names.
    ///
    /// # Errors
    /// [`AuthenticationError`].
    pub async fn caller(&self, header: Option<&str>, now: Timestamp) -> Result<Caller, AuthenticationError> {
        let credential = credential_of(header.ok_or(AuthenticationError::Missing)?)?;
        match &self.pool {
            Some(pool) => pool.verify(&credential, now).await,
            None => Err(AuthenticationError::Invalid("this stack accepts no tokens of a user pool")),
        }
    }
}
