//! The client that registered itself at an authorization server, as it is kept for all users.
//!
//! One item an authorization server and redirect URI. It is dropped where the server no longer knows the client, and
//! remembers how the client proves itself there.

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;

use super::{
    about::ClientKind,
    authorization_server::AuthorizationServer,
    config::{OAuthConfig, Owner},
    error::OAuthError,
    grant::{KEPT, StoredClient},
    grant_store::OAuth,
    registration::{ClientIdentity, Registered, known_client, register},
};
use vault::{Content, Key, SealedItem, VaultError};

/// A client that seems to be forgotten is replaced at most this often.
const REPLACE_AT_MOST_EVERY: SignedDuration = SignedDuration::from_mins(10);
/// A registration is not used in the last moments of its life.
const CLIENT_MARGIN: SignedDuration = SignedDuration::from_mins(15);

/// Whether a client that registered itself earlier will do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registration {
    /// It will.
    Kept,
    /// It will, unless it has this id: a user was sent off with that one and never came back, as happens where the
    /// authorization server has forgotten the client and shows the user an error page.
    KeptUnless(Option<String>),
    /// A new one is registered: what is kept does not work.
    Anew,
}

impl Registration {
    /// Returns true if a client that registered itself earlier will do. One that is suspected is registered anew,
    /// but not again and again: users also close pages.
    fn takes(&self, client: &StoredClient, now: Timestamp) -> bool {
        match self {
            Self::Kept => true,
            Self::KeptUnless(suspected) => {
                let is_young = client.replaced_at.is_some_and(|at| now < at + REPLACE_AT_MOST_EVERY);
                is_young || suspected.as_ref() != Some(&client.id)
            }
            Self::Anew => false,
        }
    }
}

impl OAuth {
    /// Which client to be at a server; one that registered itself earlier, or does now, if need be.
    pub(super) async fn client(
        &self,
        config: &OAuthConfig,
        server: &AuthorizationServer,
        identity: &ClientIdentity,
        registration: &Registration,
        now: Timestamp,
    ) -> Result<StoredClient, OAuthError> {
        if let Some(client) = known_client(config, server, identity) {
            return Ok(StoredClient::known(client.client_id));
        }
        let redirect_uri = identity.at(server).redirect_uri;
        let key = client_key(&server.issuer, &redirect_uri);
        let kept = self.vault.load(&key).await?;
        let kept = kept.filter(|item| now < item.content.expires - CLIENT_MARGIN);
        let kept = kept.as_ref().and_then(read);
        let replaces = kept.is_some();
        if let Some(client) = kept.filter(|client| registration.takes(client, now)) {
            return Ok(client);
        }
        let Registered { mut client, expires } = register(&self.posts, server, identity).await?;
        client.replaced_at = replaces.then_some(now);
        let content = Content {
            owner: Owner::Everybody.as_text(),
            issuer: server.issuer.clone(),
            resource: redirect_uri,
            text: serde_json::to_string(&client).unwrap_or_default().into(),
            sub: None,
            usable: true,
            expires: expires.unwrap_or(now + KEPT),
        };
        self.replace(&key, &content).await?;
        Ok(client)
    }

    /// Forgets a client that registered itself, for all users; another one that has registered meanwhile stays.
    pub(super) async fn forget_registration(&self, issuer: &str, client: &StoredClient) {
        let Some(redirect_uri) = &client.redirect_uri else { return };
        let key = client_key(issuer, redirect_uri);
        let forgotten = async {
            let Some(item) = self.vault.load(&key).await? else { return Ok(()) };
            match read(&item).is_none_or(|kept| kept.id == client.id) {
                true => self.vault.remove(&key, item.state.version).await,
                false => Ok(()),
            }
        };
        match forgotten.await {
            Ok(()) => tracing::info!("External MCP: the client is registered anew at the next sign-in"),
            Err(VaultError::Changed) => {}
            Err(error) => tracing::warn!(%error, "External MCP: a registration was not forgotten"),
        }
    }

    /// Keeps how a client proved itself, with the client and with its registration.
    pub(super) async fn keep_method(
        &self,
        config: &OAuthConfig,
        issuer: &str,
        client: &mut StoredClient,
        worked: Option<&'static str>,
    ) {
        // A server that does not take the secret that it gave.
        let drops_secret = worked == Some("none") && client.secret.take().is_some();
        let Some(worked) =
            worked.filter(|worked| drops_secret || client.auth_method.as_deref() != Some(worked))
        else {
            return;
        };
        client.auth_method = Some(worked.to_owned());
        let Some(redirect_uri) =
            client.redirect_uri.as_ref().filter(|_| client.kind(config) == ClientKind::Registered)
        else {
            return;
        };
        let key = client_key(issuer, redirect_uri);
        let written = async {
            let Some(item) = self.vault.load(&key).await? else { return Ok(()) };
            if read(&item).is_none_or(|kept| kept.id != client.id) {
                return Ok(());
            }
            let text = serde_json::to_string(client).unwrap_or_default().into();
            let content = Content { text, ..item.content };
            self.vault.put(&key, &content, Some(item.state.version)).await.map(drop)
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "how a client proves itself was not kept with its registration");
        }
    }
}

/// Where a client that registered itself is kept.
fn client_key(issuer: &str, redirect_uri: &str) -> Key {
    Key::new("client", &[issuer, redirect_uri])
}

/// The client in an item; `None` where it is of a version that wrote it otherwise.
fn read(item: &SealedItem) -> Option<StoredClient> {
    serde_json::from_str(item.content.text.expose_secret()).ok()
}
