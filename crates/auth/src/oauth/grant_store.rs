//! Reads and writes grants in the vault: [`OAuth`] and its storage methods.
//!
//! Decides nothing about tokens ([`super::access_token`] does) and sends nothing to authorization servers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use egress::HttpClient;
use jiff::Timestamp;
use tokio::sync::RwLock;
use vault::{Content, ItemState, Key, SealedItem, Vault, VaultError};

use super::{
    config::{GrantType, OAuthConfig, Owner},
    error::OAuthError,
    grant::{Grant, grant_key},
};
use crate::AuthError;

/// How often an unconditional write is attempted. Each attempt fails only if another process writes the same item
/// between its read and its write, which does not go on for long.
const REPLACE_ATTEMPTS: usize = 3;

/// OAuth for all MCP servers: returns access tokens and leads users through sign-ins. Cheap to clone; clones share all.
#[derive(Clone)]
pub struct OAuth {
    pub(super) http: HttpClient,
    /// The HTTP client for requests that must not be sent twice. It opens a new HTTP connection for each request, since a
    /// pooled one may be dead, which shows only after the request was sent.
    pub(super) posts: HttpClient,
    pub(super) vault: Arc<dyn Vault>,
    /// Held for reading by each running exchange, and taken for writing by [`Self::settled`].
    pub(super) running: Arc<RwLock<()>>,
    /// Grant type per configuration, for entries without `grant_type`; learned at the first sign-in.
    pub(super) grant_types: Arc<Mutex<HashMap<[u8; 32], GrantType>>>,
}

/// A grant as it was read from the vault, with its key and version.
#[derive(Clone)]
pub(super) struct StoredGrant {
    pub(super) key: Key,
    pub(super) owner: Owner,
    pub(super) grant: Grant,
    pub(super) state: ItemState,
    /// True if this process has renewed the grant since it was read.
    pub(super) issued_here: bool,
}

impl OAuth {
    /// Sends requests to authorization servers over `http`, and stores grants in `vault`.
    pub fn new(http: HttpClient, vault: Arc<dyn Vault>) -> Self {
        let posts = http.unpooled();
        Self { http, posts, vault, running: Arc::default(), grant_types: Arc::default() }
    }

    /// Waits until every exchange that this process has begun is finished and stored. A function calls it before it
    /// answers, since the process may be frozen after the answer.
    pub async fn settled(&self) {
        drop(self.running.write().await);
    }

    /// Writes a grant if its version is still `expected`. Returns the new version.
    pub(super) async fn write(
        &self,
        config: &OAuthConfig,
        stored: &StoredGrant,
        expected: u64,
        now: Timestamp,
    ) -> Result<u64, OAuthError> {
        let content = stored.grant.content(config, &stored.owner, now);
        Ok(self.vault.put(&stored.key, &content, Some(expected)).await?)
    }

    /// Writes an item, whatever version is stored.
    pub(super) async fn replace(&self, key: &Key, content: &Content) -> Result<(), OAuthError> {
        for _ in 0..REPLACE_ATTEMPTS {
            let current = self.vault.peek(key).await?;
            match self.vault.put(key, content, current.map(|current| current.version)).await {
                Err(VaultError::Changed) => {}
                written => return Ok(written.map(drop)?),
            }
        }
        Err(VaultError::Changed.into())
    }

    /// Reads the grant of the first owner that has one.
    pub(super) async fn find_grant(&self, config: &OAuthConfig) -> Result<Option<StoredGrant>, AuthError> {
        for owner in &config.owners {
            if let Some(stored) = self.find_grant_of(config, owner.clone()).await? {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    /// Reads the grant of one owner. A grant of another person with the owner's name counts as none.
    pub(super) async fn find_grant_of(
        &self,
        config: &OAuthConfig,
        owner: Owner,
    ) -> Result<Option<StoredGrant>, OAuthError> {
        let key = grant_key(config, &owner);
        let found = self.vault.load(&key).await?;
        let own = found.filter(|item| !owner.is_another(item.content.sub.as_deref()));
        own.map(|item| StoredGrant::read(key, owner, item)).transpose()
    }

    /// Reads a grant again, if it has changed.
    pub(super) async fn read_again(
        &self,
        config: &OAuthConfig,
        stored: StoredGrant,
    ) -> Result<StoredGrant, OAuthError> {
        if self.vault.peek(&stored.key).await?.as_ref() == Some(&stored.state) {
            return Ok(stored);
        }
        let again = self.find_grant_of(config, stored.owner).await?;
        again.ok_or(OAuthError::Store(VaultError::Changed))
    }
}

impl StoredGrant {
    fn read(key: Key, owner: Owner, item: SealedItem) -> Result<Self, OAuthError> {
        Ok(Self { key, owner, grant: Grant::read(&item.content)?, state: item.state, issued_here: false })
    }
}
