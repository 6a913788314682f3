//! How one MCP server is signed in to.
//!
//! An [`AuthConfig`] says how, [`SignIn`] does it and keeps what it got, a [`Credential`] is what a
//! request then carries. What outlives a process is kept in a [`vault::Vault`]. Knows nothing of MCP beyond
//! a server's URL, nothing of entries or of the environment; `mcp` calls it.

mod cognito;
mod config;
mod credential;
mod error;
mod oauth;
mod sign_in;
mod user;

pub use config::{ApiKeyConfig, ApiKeyError, AuthConfig, CognitoConfig, UserPoolId, UserPoolIdError};
pub use credential::{Credential, ExtraHeaderError, ExtraHeaders, REDACTED, Scrubber};
pub use error::AuthError;
pub use oauth::{
    About, Arrival, Arrived, Asking, AuthorizationServer, Challenge, ClientIdentity, ClientKind, ClientProof,
    ClientRegistration, Ended, EntryFacts, EntryProof, GrantType, OAuth, OAuthConfig, OAuthError, Owner,
    Place, PrivateKey, Purpose, Redirect, RedirectError, Registration, ResourceIndicator, Revocation,
    SignInNeeded, Started, client_metadata, is_loopback,
};
pub use sign_in::{DecidedSignIn, SignIn, SignInState};
pub use user::User;
