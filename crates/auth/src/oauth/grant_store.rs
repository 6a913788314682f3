//! The grants in the vault: [`OAuth`], which holds the vault, and its reads and writes of grants.
//!
//! Decides nothing about tokens ([`super::tokens`] does) and asks no authorization server.

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

/// OAuth for all servers: gives out access tokens, and leads users through sign-ins. Cheap to clone; clones share all.
#[derive(Clone)]
pub struct OAuth {
    pub(super) http: HttpClient,
    /// For what must not be sent twice: a connection that was stored may be dead by the time it is used.
    pub(super) posts: HttpClient,
    pub(super) vault: Arc<dyn Vault>,
    /// Read by every exchange that must be seen through; see [`Self::settled`].
    pub(super) running: Arc<RwLock<()>>,
    /// Grant type per configuration, for entries without `grant_type`; learned at the first sign-in.
    pub(super) grant_types: Arc<Mutex<HashMap<[u8; 32], GrantType>>>,
}

/// A grant as it was read, with its key and version.
#[derive(Clone)]
pub(super) struct StoredGrant {
    pub(super) key: Key,
    pub(super) owner: Owner,
    pub(super) grant: Grant,
    pub(super) state: ItemState,
    /// True once this process has renewed the grant, false as it was read.
    pub(super) issued_here: bool,
}

impl OAuth {
    /// Asks authorization servers over `http`, keeps what they give in `store`.
    pub fn new(http: HttpClient, vault: Arc<dyn Vault>) -> Self {
        let posts = http.unpooled();
        Self { http, posts, vault, running: Arc::default(), grant_types: Arc::default() }
    }

    /// Waits until every exchange begun here has been seen through. To be called before an answer is sent
    /// after which the process may be frozen.
    pub async fn settled(&self) {
        drop(self.running.write().await);
    }

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

    /// Writes over whatever is there.
    pub(super) async fn replace(&self, key: &Key, content: &Content) -> Result<(), OAuthError> {
        // Somebody else may write in between, not again and again.
        for _ in 0..3 {
            let standing = self.vault.peek(key).await?;
            match self.vault.put(key, content, standing.map(|standing| standing.version)).await {
                Err(VaultError::Changed) => {}
                written => return Ok(written.map(drop)?),
            }
        }
        Err(VaultError::Changed.into())
    }

    /// The grant of the first owner that has one.
    pub(super) async fn find(&self, config: &OAuthConfig) -> Result<Option<StoredGrant>, AuthError> {
        for owner in &config.owners {
            if let Some(stored) = self.find_of(config, owner.clone()).await? {
                return Ok(Some(stored));
            }
        }
        Ok(None)
    }

    pub(super) async fn find_of(
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
        let again = self.find_of(config, stored.owner).await?;
        again.ok_or(OAuthError::Store(VaultError::Changed))
    }
}

impl StoredGrant {
    fn read(key: Key, owner: Owner, item: SealedItem) -> Result<Self, OAuthError> {
        Ok(Self { key, owner, grant: Grant::read(&item.content)?, state: item.state, issued_here: false })
    }
}
