//! Verifies the credential of an HTTP request.

use jiff::Timestamp;

use crate::{authorization::credential_of, caller::Caller, error::AuthenticationError, user_pool::UserPool};

/// Verifies credentials of HTTP requests. Cheap to clone.
#[derive(Clone, Default)]
pub struct Authenticator {
    pool: Option<UserPool>,
}

impl Authenticator {
    /// Accepts the tokens of `pool`; without a pool no token is accepted.
    pub fn new(pool: Option<UserPool>) -> Self {
        Self { pool }
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
