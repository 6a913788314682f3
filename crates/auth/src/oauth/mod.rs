//! Signing in with OAuth 2.1, as MCP servers want it.
//!
//! [`discovery`] finds out who signs people in, from the documents of [`metadata`], whose members [`document`]
//! reads; [`selection`] which of several it is, [`combination`] what they and the entry say together;
//! [`registration`] which client we are there, [`kept_client`] keeps one that registered itself;
//! [`authorization_code`] sends a user and looks at what comes back; [`token`] exchanges what was got for tokens,
//! which [`token_answer`] reads; [`client_proof`] says how the client proves itself. [`about`] is what an [`error`]
//! is about, [`verdict`] what a refusal means, [`remedy`] what to do about it. [`grant`] is what is kept; [`tokens`]
//! gives it out, [`renewal`] keeps it fresh, [`pin`] holds a server to its first authorization server,
//! [`revocation`] takes it back; [`consent`] is the way of a user from start to completion. Knows MCP servers by
//! their URL alone.

mod about;
pub(crate) mod authorization_code;
mod authorization_server;
mod challenge;
mod client_proof;
mod combination;
mod config;
mod consent;
mod discovery;
mod document;
mod error;
mod grant;
mod grant_store;
mod issuer;
mod kept_client;
mod metadata;
mod pin;
mod registration;
mod remedy;
mod renewal;
mod resource;
mod revocation;
mod selection;
mod token;
mod token_answer;
mod token_refusal;
mod token_set;
mod tokens;
mod verdict;
mod wire;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::SecretString;

pub use about::{About, Asking, ClientKind, EntryFacts, EntryProof, Place};
pub use authorization_code::{Redirect, is_loopback};
pub use authorization_server::AuthorizationServer;
pub use challenge::Challenge;
pub use config::{
    ClientProof, ClientRegistration, GrantType, OAuthConfig, Owner, PrivateKey, ResourceIndicator,
};
pub use consent::{Arrival, Arrived, Purpose, RedirectError, Started};
pub use error::OAuthError;
pub use grant::{Ended, SignInNeeded};
pub use grant_store::OAuth;
pub use kept_client::Registration;
pub use registration::{ClientIdentity, client_metadata};
pub use revocation::Revocation;

/// 256 random bits that can stand in a URL: 43 characters.
fn random_token() -> Result<SecretString, OAuthError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| OAuthError::NoRandomness)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes).into())
}
