//! The issuer of a first sign-in, for entries that have a secret to lose.
//!
//! A server that names another authorization server later would have us send it the client's secret. What it
//! named first is kept under what the entry says. An entry that names its issuer has that one looked up first; the
//! pin then keeps an address at which its document was found from being exchanged for another.

use egress::Shown;
use jiff::{SignedDuration, Timestamp};

use super::{
    authorization_server::AuthorizationServer,
    config::{ClientProof, OAuthConfig, Owner},
    error::OAuthError,
    grant::KEPT,
    grant_store::OAuth,
    issuer::is_same_issuer,
    resource::in_clear,
};
use vault::{Content, Key, VaultError};

/// A pin that is used is kept for as long again once a month.
const RENEWED_AFTER: SignedDuration = SignedDuration::from_hours(24 * 30);

impl OAuth {
    /// Refuses an issuer that is not the one of the first sign-in, where the entry has a secret to lose.
    pub(super) async fn check_pin(&self, config: &OAuthConfig, issuer: &str) -> Result<(), OAuthError> {
        let Some(key) = pin_key(config) else { return Ok(()) };
        match self.vault.load(&key).await? {
            // The one that the entry names needs no other word.
            Some(_) if config.issuer.as_deref().is_some_and(|named| is_same_issuer(named, issuer)) => Ok(()),
            Some(item) if !is_same_issuer(&item.content.issuer, issuer) => Err(OAuthError::IssuerChanged {
                pinned: Shown::new(&item.content.issuer),
                found: Shown::new(issuer),
            }),
            _ => Ok(()),
        }
    }

    /// The issuer of the first sign-in, where the entry has a secret to lose and somebody has signed in.
    pub(super) async fn pinned(&self, config: &OAuthConfig) -> Result<Option<String>, OAuthError> {
        let Some(key) = pin_key(config) else { return Ok(None) };
        Ok(self.vault.load(&key).await?.map(|item| item.content.issuer))
    }

    /// Keeps the issuer of a first sign-in, for as long as it is used.
    pub(super) async fn pin(&self, config: &OAuthConfig, server: &AuthorizationServer, now: Timestamp) {
        let Some(key) = pin_key(config) else { return };
        let pinned = match self.vault.load(&key).await {
            Ok(pinned) => pinned,
            Err(error) => {
                tracing::warn!(%error, "External MCP: the issuer of a first sign-in was not read");
                return;
            }
        };
        if pinned.as_ref().is_some_and(|item| {
            !is_same_issuer(&item.content.issuer, &server.issuer)
                || now + (KEPT - RENEWED_AFTER) < item.content.expires
        }) {
            return;
        }
        let content = Content {
            owner: Owner::Everybody.as_text(),
            issuer: server.issuer.clone(),
            resource: in_clear(config.server_url.as_str()),
            text: "{}".into(),
            sub: None,
            usable: true,
            expires: now + KEPT,
        };
        let expected = pinned.map(|item| item.state.version);
        match self.vault.put(&key, &content, expected).await {
            Ok(_) | Err(VaultError::Changed) => {}
            Err(error) => tracing::warn!(%error, "External MCP: the issuer of a first sign-in was not kept"),
        }
    }
}

fn pin_key(config: &OAuthConfig) -> Option<Key> {
    let client = config.client.as_ref().filter(|client| !matches!(client.proof, ClientProof::Public))?;
    let mut parts = vec![config.server_url.as_str(), &client.client_id];
    // An entry that names another issuer than before says itself whom it trusts.
    parts.extend(config.issuer.as_deref());
    Some(Key::new("pin", &parts))
}
