//! The client that registered itself at an authorization server, stored for all users.
//!
//! One vault item for each authorization server and redirect URI. It is removed when the server no longer knows the
//! client, and it has the method of client authentication that succeeded. Registers through [`super::registration`].

use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;

use super::{
    authorization_server::AuthorizationServer,
    config::{OAuthConfig, Owner},
    error::OAuthError,
    grant::{RETENTION, StoredClient},
    grant_store::OAuth,
    registration::{ClientIdentity, NewRegistration, known_client, register},
    request_context::ClientKind,
};
use vault::{Content, Key, SealedItem, VaultError};

/// Shortest time between two registrations because of unfinished sign-ins, in minutes: users also close pages, and each
/// registration stays at the authorization server.
const REPLACE_AT_MOST_EVERY: SignedDuration = SignedDuration::from_mins(10);
/// Time before its expiry from which a registration is not used any more, in minutes: longer than a sign-in may take.
const CLIENT_MARGIN: SignedDuration = SignedDuration::from_mins(15);

/// The choice between a stored registration and a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistrationChoice {
    /// The stored one, if there is one.
    Stored,
    /// The stored one, unless it has this client id: a user's earlier sign-in with it was not completed. This happens
    /// when the authorization server has forgotten the client and shows the user an error page.
    StoredUnless(Option<String>),
    /// A new one: the stored one does not work.
    New,
}

impl RegistrationChoice {
    /// Returns true if a stored client is used. A client to exclude is used nevertheless for [`REPLACE_AT_MOST_EVERY`]
    /// after it replaced another.
    fn accepts(&self, client: &StoredClient, now: Timestamp) -> bool {
        match self {
            Self::Stored => true,
            Self::StoredUnless(suspected) => {
                let is_young = client.replaced_at.is_some_and(|at| now < at + REPLACE_AT_MOST_EVERY);
                is_young || suspected.as_ref() != Some(&client.id)
            }
            Self::New => false,
        }
    }
}

impl OAuth {
    /// Returns the client to use at an authorization server: the entry's, the metadata document, a stored registration,
    /// or a new one, in this order.
    ///
    /// # Errors
    /// [`OAuthError::ClientNeeded`] if there is none and none can register; the error of the registration endpoint or the
    /// vault.
    pub(super) async fn client(
        &self,
        config: &OAuthConfig,
        server: &AuthorizationServer,
        identity: &ClientIdentity,
        registration: &RegistrationChoice,
        now: Timestamp,
    ) -> Result<StoredClient, OAuthError> {
        if let Some(client) = known_client(config, server, identity) {
            return Ok(StoredClient::with_id(client.client_id));
        }
        let redirect_uri = identity.at(server).redirect_uri;
        let key = client_key(&server.issuer, &redirect_uri);
        let stored = self.vault.load(&key).await?;
        let stored = stored.filter(|item| now < item.content.expires - CLIENT_MARGIN);
        let stored = stored.as_ref().and_then(read);
        let is_replaced = stored.is_some();
        if let Some(client) = stored.filter(|client| registration.accepts(client, now)) {
            return Ok(client);
        }
        let NewRegistration { mut client, expires } = register(&self.posts, server, identity).await?;
        client.replaced_at = is_replaced.then_some(now);
        let content = Content {
            owner: Owner::Everybody.as_text(),
            issuer: server.issuer.clone(),
            resource: redirect_uri,
            text: serde_json::to_string(&client).unwrap_or_default().into(),
            sub: None,
            usable: true,
            expires: expires.unwrap_or(now + RETENTION),
        };
        self.replace(&key, &content).await?;
        Ok(client)
    }

    /// Removes a stored registration, for all users. A newer one stays. A failure is logged only.
    pub(super) async fn forget_registration(&self, issuer: &str, client: &StoredClient) {
        let Some(redirect_uri) = &client.redirect_uri else { return };
        let key = client_key(issuer, redirect_uri);
        let removed = async {
            let Some(item) = self.vault.load(&key).await? else { return Ok(()) };
            match read(&item).is_none_or(|stored| stored.id == client.id) {
                true => self.vault.remove(&key, item.state.version).await,
                false => Ok(()),
            }
        };
        match removed.await {
            Ok(()) => tracing::info!("External MCP: the client is registered anew at the next sign-in"),
            Err(VaultError::Changed) => {}
            Err(error) => {
                tracing::warn!(%error, "External MCP: the registration of a client that the server no longer knows was not removed")
            }
        }
    }

    /// Stores the method of client authentication that succeeded, with the client and with its registration.
    pub(super) async fn store_auth_method(
        &self,
        config: &OAuthConfig,
        issuer: &str,
        client: &mut StoredClient,
        succeeded: Option<&'static str>,
    ) {
        // A server that does not accept the secret that it issued.
        let drops_secret = succeeded == Some("none") && client.secret.take().is_some();
        let Some(succeeded) =
            succeeded.filter(|succeeded| drops_secret || client.auth_method.as_deref() != Some(succeeded))
        else {
            return;
        };
        client.auth_method = Some(succeeded.to_owned());
        let Some(redirect_uri) =
            client.redirect_uri.as_ref().filter(|_| client.kind(config) == ClientKind::Registered)
        else {
            return;
        };
        let key = client_key(issuer, redirect_uri);
        let written = async {
            let Some(item) = self.vault.load(&key).await? else { return Ok(()) };
            if read(&item).is_none_or(|stored| stored.id != client.id) {
                return Ok(());
            }
            let text = serde_json::to_string(client).unwrap_or_default().into();
            let content = Content { text, ..item.content };
            self.vault.put(&key, &content, Some(item.state.version)).await.map(drop)
        };
        if let Err(error) = written.await {
            tracing::debug!(%error, "the method of client authentication was not stored with its registration");
        }
    }
}

/// Returns the vault key of a registration.
fn client_key(issuer: &str, redirect_uri: &str) -> Key {
    Key::new("client", &[issuer, redirect_uri])
}

/// Returns the client in an item; `None` if another version of this program wrote it.
fn read(item: &SealedItem) -> Option<StoredClient> {
    serde_json::from_str(item.content.text.expose_secret()).ok()
}
