//! Who is calling: the credential of an HTTP request is verified here, and makes a [`Caller`] with groups and tenants.
//!
//! [`Authenticator`] takes the value of the `Authorization` header. A token of the user pool is verified with the pool's
//! signing keys, which are cached; nothing else is asked. Knows no router and no Lambda event: the crate `edge` calls it
//! for HTTP, the functions use [`Caller`] for resolver events, whose identity AppSync has verified.

mod authenticator;
mod authorization;
mod caller;
mod error;
mod signing_keys;
mod tenant;
mod user_pool;

pub use authenticator::Authenticator;
pub use caller::{Caller, may_list};
pub use error::AuthenticationError;
pub use tenant::{Tenant, TenantError, TenantNameError};
pub use user_pool::UserPool;
