//! The pin: the issuer of an entry's first sign-in, for entries with a client secret or private key.
//!
//! Without it, an MCP server that later names another authorization server could have the client's secret sent there.
//! The first issuer is stored in the vault; another one is refused. An entry with `issuer` has that one looked up first;
//! the pin then holds the address at which its metadata was found. Called before each request with a secret.

use egress::Shown;
use jiff::{SignedDuration, Timestamp};

use super::{
    authorization_server::AuthorizationServer,
    config::{ClientAuthentication, OAuthConfig, Owner},
    error::OAuthError,
    grant::RETENTION,
    grant_store::OAuth,
    issuer::is_same_issuer,
    resource::without_query,
};
use vault::{Content, Key, VaultError};

/// Time after which a pin in use is stored again, in days, so that it does not expire.
const RENEWED_AFTER: SignedDuration = SignedDuration::from_hours(24 * 30);

impl OAuth {
    /// Refuses an issuer that is not the one of the first sign-in, if the entry has a secret.
    ///
    /// # Errors
    /// [`OAuthError::IssuerChanged`]; [`OAuthError::Store`].
    pub(super) async fn check_pin(&self, config: &OAuthConfig, issuer: &str) -> Result<(), OAuthError> {
        let Some(key) = pin_key(config) else { return Ok(()) };
        match self.vault.load(&key).await? {
            // The entry itself names this issuer.
            Some(_) if config.issuer.as_deref().is_some_and(|named| is_same_issuer(named, issuer)) => Ok(()),
            Some(item) if !is_same_issuer(&item.content.issuer, issuer) => Err(OAuthError::IssuerChanged {
                pinned: Shown::new(&item.content.issuer),
                found: Shown::new(issuer),
            }),
            _ => Ok(()),
        }
    }

    /// Returns the issuer of the first sign-in; `None` if the entry has no secret, or no one was stored.
    pub(super) async fn pinned(&self, config: &OAuthConfig) -> Result<Option<String>, OAuthError> {
        let Some(key) = pin_key(config) else { return Ok(None) };
        Ok(self.vault.load(&key).await?.map(|item| item.content.issuer))
    }

    /// Stores the issuer of a first sign-in, or extends its life. A failure is logged only: the sign-in is done.
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
                || now + (RETENTION - RENEWED_AFTER) < item.content.expires
        }) {
            return;
        }
        let content = Content {
            owner: Owner::Everybody.as_text(),
            issuer: server.issuer.clone(),
            resource: without_query(config.server_url.as_str()),
            text: "{}".into(),
            sub: None,
            usable: true,
            expires: now + RETENTION,
        };
        let expected = pinned.map(|item| item.state.version);
        match self.vault.put(&key, &content, expected).await {
            Ok(_) | Err(VaultError::Changed) => {}
            Err(error) => {
                tracing::warn!(%error, "External MCP: the issuer of a first sign-in was not stored")
            }
        }
    }
}

fn pin_key(config: &OAuthConfig) -> Option<Key> {
    let client = config
        .client
        .as_ref()
        .filter(|client| !matches!(client.authentication, ClientAuthentication::Public))?;
    let mut parts = vec![config.server_url.as_str(), &client.client_id];
    // An entry with another issuer than before has a pin of its own: its author decides whom to trust.
    parts.extend(config.issuer.as_deref());
    Some(Key::new("pin", &parts))
}
