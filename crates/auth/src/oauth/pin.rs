//! The issuer of a first sign-in, for entries that have a secret to lose.
//!
//! A server that names another authorization server later would have us send it the client's secret. What it
//! named first is kept under what the entry says; an entry that names its issuer itself needs none of this.

use jiff::Timestamp;

use super::{
    config::{ClientProof, OAuthConfig, Owner},
    discovery::AuthorizationServer,
    error::OAuthError,
    grant::{KEPT, in_clear},
    metadata::is_same_issuer,
    shown::Shown,
    tokens::OAuth,
};
use crate::store::{Content, Key, StoreError};

impl OAuth {
    /// Refuses an issuer that is not the one of the first sign-in, where the entry has a secret to lose.
    pub(super) async fn check_pin(&self, config: &OAuthConfig, issuer: &str) -> Result<(), OAuthError> {
        let Some(key) = pin_key(config) else { return Ok(()) };
        match self.store.load(&key).await? {
            Some(item) if !is_same_issuer(&item.content.issuer, issuer) => Err(OAuthError::IssuerChanged {
                pinned: Shown::new(&item.content.issuer),
                found: Shown::new(issuer),
            }),
            _ => Ok(()),
        }
    }

    /// Keeps the issuer of a first sign-in.
    pub(super) async fn pin(&self, config: &OAuthConfig, server: &AuthorizationServer, now: Timestamp) {
        let Some(key) = pin_key(config) else { return };
        let content = Content {
            owner: Owner::Everybody.as_text(),
            issuer: server.issuer.clone(),
            resource: in_clear(config.server_url.as_str()),
            text: "{}".into(),
            usable: true,
            expires: now + KEPT,
        };
        match self.store.put(&key, &content, None).await {
            Ok(_) | Err(StoreError::Changed) => {}
            Err(error) => tracing::warn!(%error, "External MCP: the issuer of a first sign-in was not kept"),
        }
    }
}

fn pin_key(config: &OAuthConfig) -> Option<Key> {
    let client = config.client.as_ref().filter(|client| !matches!(client.proof, ClientProof::Public))?;
    // An entry that names the issuer says itself whom it trusts.
    let is_open = config.issuer.is_none();
    is_open.then(|| Key::new("pin", &[config.server_url.as_str(), &client.client_id]))
}
