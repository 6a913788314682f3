//! OAuth 2.1 sign-ins, as the MCP specification asks for them. Knows an MCP server by its URL alone.
//!
//! Discovery: [`discovery`] finds the authorization server of an MCP server, from the metadata documents that
//! [`metadata`] fetches and [`document`] reads. [`combination`] combines them with the entry; [`selection`] chooses
//! one of several authorization servers. [`challenge`] reads `WWW-Authenticate`.
//!
//! Clients: [`registration`] says which client this is and registers one, [`registered_client`] stores a registered
//! one, [`client_authentication`] authenticates the client at an endpoint.
//!
//! A user's sign-in: [`consent_start`] starts it, [`pending_sign_in`] stores it meanwhile, [`consent`] takes the
//! redirect and completes it; [`authorization_code`] makes the authorization request and validates the redirect.
//!
//! Tokens: [`token_request`] requests them, [`token_response`] reads them. [`grant`] is what is stored of a sign-in,
//! [`grant_store`] reads and writes it, [`grant_status`] reads its state. [`access_token`] decides which access token is used, [`renewal`] and
//! [`lease_holder`] renew it, [`revocation`] removes and revokes it. [`pin`] holds an entry's secret to its first
//! authorization server.
//!
//! Errors: [`error`] is the enum, [`request_context`] what an error is about, [`error_response`] reads a refusal,
//! [`verdict`] judges it; [`error_remedy`] and [`refusal_remedy`] say what to do. [`wire`] sends every request.

mod access_token;
pub(crate) mod authorization_code;
mod authorization_server;
mod challenge;
mod client_authentication;
mod combination;
mod config;
mod consent;
mod consent_start;
mod discovery;
mod document;
mod error;
mod error_context;
mod error_remedy;
mod error_response;
mod grant;
mod grant_status;
mod grant_store;
mod issuer;
mod lease_holder;
mod metadata;
mod pending_sign_in;
mod pin;
mod refusal_remedy;
mod registered_client;
mod registration;
mod renewal;
mod request_context;
mod resource;
mod revocation;
mod selection;
mod token_request;
mod token_response;
mod token_set;
mod verdict;
mod wire;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::SecretString;

pub use authorization_code::{Redirect, is_loopback};
pub use authorization_server::AuthorizationServer;
pub use challenge::Challenge;
pub use config::{
    ClientAuthentication, ClientRegistration, GrantType, OAuthConfig, Owner, PrivateKey, ResourceIndicator,
};
pub use consent::{AcceptedRedirect, ReadySignIn, RedirectError};
pub use consent_start::{Purpose, StartedSignIn};
pub use error::OAuthError;
pub use grant::{GrantEndReason, SignInNeeded};
pub use grant_status::GrantSummary;
pub use grant_store::OAuth;
pub use registered_client::RegistrationChoice;
pub use registration::{ClientIdentity, client_metadata};
pub use request_context::{
    ClientKind, Endpoint, EntryAuthentication, EntryFacts, RequestContext, TokenRequestKind,
};
pub use revocation::RevocationOutcome;

/// Returns 256 random bits in base64url: 43 characters that can stand in a URL.
fn random_token() -> Result<SecretString, OAuthError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| OAuthError::NoRandomness)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes).into())
}
