//! How one MCP server is signed in to.
//!
//! An [`AuthConfig`] says how, [`SignIn`] does it and keeps what it got, a [`Credential`] is what a
//! request then carries. Knows nothing of MCP, of entries or of the environment; `mcp` calls it.

mod cognito;
mod config;
mod credential;
mod error;
mod sign_in;

pub use config::{AuthConfig, CognitoConfig, UserPoolId, UserPoolIdError};
pub use credential::Credential;
pub use error::AuthError;
pub use sign_in::SignIn;
