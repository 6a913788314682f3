//! Signs in to MCP servers: with no credential, an API key, a Cognito user, or OAuth.
//!
//! An [`AuthConfig`] is the configuration of one server's sign-in, [`SignIn`] gets and caches its tokens, and a
//! [`Credential`] is what a request then carries. Grants, registrations and pending sign-ins are stored in a
//! [`vault::Vault`]. This crate knows nothing of MCP but a server's URL, and nothing of entries or of the environment.
//! Called by `mcp`, the connections API and `mcp-agents login`.

mod cached_tokens;
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
    AcceptedRedirect, AuthorizationServer, Challenge, ClientAuthentication, ClientIdentity, ClientKind,
    ClientRegistration, Endpoint, EntryAuthentication, EntryFacts, GrantEndReason, GrantSummary, GrantType,
    OAuth, OAuthConfig, OAuthError, Owner, PrivateKey, Purpose, ReadySignIn, Redirect, RedirectError,
    RegistrationChoice, RequestContext, ResourceIndicator, RevocationOutcome, SignInNeeded, StartedSignIn,
    TokenRequestKind, client_metadata, is_loopback,
};
pub use sign_in::{DecidedSignIn, SignIn, SignInState};
pub use user::User;
