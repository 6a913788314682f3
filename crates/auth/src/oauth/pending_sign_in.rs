//! A sign-in between its start and its completion, as the vault stores it.
//!
//! The item lies under the hash of the sign-in's `state`, sealed, and is good for ten minutes. The state itself is
//! stored nowhere: a reader of the table cannot complete a sign-in. Each change names the version that was read, so
//! that of two requests with the same state one fails. A second item, which outlives the first, notes that a start was
//! not completed. Written by [`super::consent_start`], read by [`super::consent`]; sends nothing.

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use vault::{Content, Key, SealedItem, VaultError, digest, hex};

use super::{
    authorization_server::AuthorizationServer,
    config::Owner,
    error::OAuthError,
    grant::{StoredClient, optional_secret},
    grant_store::OAuth,
    request_context::{ClientKind, EntryFacts},
};
use crate::user::User;

/// Time that a user has from start to completion, in minutes. The messages about `state` name it too.
pub(super) const STATE_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// Time for which a start without a completion is remembered, in days.
pub(super) const UNFINISHED_LIFE: SignedDuration = SignedDuration::from_hours(24 * 30);

/// A sign-in that was started and not completed yet.
#[derive(Serialize, Deserialize)]
pub(super) struct PendingSignIn {
    pub(super) agent_id: String,
    /// The user who started the sign-in; only this user may complete it.
    pub(super) starter: User,
    /// The owner of the tokens.
    pub(super) owner: Owner,
    /// The origin of the web page that waits for the sign-in.
    #[serde(default)]
    pub(super) origin: Option<String>,
    /// The vault key of the grant to come. It depends on the entry: if the entry changes, the sign-in fails.
    pub(super) grant_key: String,
    pub(super) redirect_uri: String,
    pub(super) server: AuthorizationServer,
    pub(super) client: StoredClient,
    pub(super) client_kind: ClientKind,
    #[serde(default)]
    pub(super) entry: EntryFacts,
    /// The scopes that were requested.
    pub(super) scopes: Vec<String>,
    /// The PKCE verifier.
    #[serde(with = "optional_secret")]
    pub(super) verifier: Option<SecretString>,
    /// The authorization code, once the redirect has arrived.
    #[serde(with = "optional_secret")]
    pub(super) code: Option<SecretString>,
}

impl PendingSignIn {
    pub(super) fn content(&self, resource: &str, expires: Timestamp) -> Content {
        Content {
            owner: Owner::User(self.starter.clone()).as_text(),
            issuer: self.server.issuer.clone(),
            resource: resource.to_owned(),
            text: serde_json::to_string(self).unwrap_or_default().into(),
            sub: self.starter.sub.clone(),
            usable: true,
            expires,
        }
    }

    /// Returns the content of the note that this sign-in is unfinished: the client id that the browser was sent with.
    pub(super) fn unfinished_content(&self, resource: &str, expires: Timestamp) -> Content {
        Content { text: self.client.id.as_str().into(), ..self.content(resource, expires) }
    }
}

impl OAuth {
    /// Reads the pending sign-in with this state. Removes it if it has expired.
    ///
    /// # Errors
    /// [`OAuthError::State`] if there is none, or if another version of this program wrote it.
    pub(super) async fn pending_sign_in(
        &self,
        state: &str,
        now: Timestamp,
    ) -> Result<(Key, SealedItem, PendingSignIn), OAuthError> {
        let key = state_key(state);
        let item = self.vault.load(&key).await?.ok_or(OAuthError::State)?;
        if item.content.expires <= now {
            self.use_up(&key, &item).await?;
            return Err(OAuthError::State);
        }
        let text = item.content.text.expose_secret();
        let pending = serde_json::from_str(text).map_err(|_| OAuthError::State)?;
        Ok((key, item, pending))
    }

    /// Removes a pending sign-in: its state is used up.
    ///
    /// # Errors
    /// [`OAuthError::State`] if another request has used the state first.
    pub(super) async fn use_up(&self, key: &Key, item: &SealedItem) -> Result<(), OAuthError> {
        self.vault.remove(key, item.state.version).await.map_err(changed_means_used)
    }

    /// Returns the client id of an earlier start of the same user for the same grant that was not completed; `None` if
    /// there is none.
    pub(super) async fn unfinished_client(
        &self,
        unfinished: &Key,
        now: Timestamp,
    ) -> Result<Option<String>, OAuthError> {
        let item = self.vault.load(unfinished).await?.filter(|item| now < item.content.expires);
        Ok(item.map(|item| item.content.text.expose_secret().to_owned()))
    }

    /// Removes the note that a sign-in is unfinished. Called after a completion. A redirect alone does not show that
    /// the authorization server knows the client: some send users back with any client id, and refuse the code.
    pub(super) async fn clear_unfinished(&self, unfinished: &Key) {
        let Ok(Some(current)) = self.vault.peek(unfinished).await else { return };
        if let Err(error) = self.vault.remove(unfinished, current.version).await {
            tracing::debug!(%error, "the note of an unfinished sign-in was not removed after its completion");
        }
    }
}

/// Returns the vault key of the pending sign-in with this state.
pub(super) fn state_key(state: &str) -> Key {
    Key::new("state", &[&hex(&digest(&[state]))])
}

/// Returns the vault key of the note that a user's sign-in for a grant is unfinished.
pub(super) fn unfinished_key(grant_key: &str, starter: &User) -> Key {
    Key::new("under_way", &[grant_key, &starter.name])
}

/// Returns the error of a write to a pending sign-in. If the item has changed, another request has used the state.
pub(super) fn changed_means_used(error: VaultError) -> OAuthError {
    match error {
        VaultError::Changed => OAuthError::State,
        error => error.into(),
    }
}
