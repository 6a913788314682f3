//! The vault in memory, which ends with its process. Without a table, clients can still sign in for themselves, in each
//! environment anew.

use std::{
    borrow::Borrow,
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::future::{BoxFuture, ready};
use jiff::Timestamp;

use super::{Content, ItemState, Key, SealedItem, Vault, VaultError};

/// A vault in memory.
#[derive(Debug, Default)]
pub struct ProcessVault(Mutex<HashMap<Key, SealedItem>>);

impl ProcessVault {
    fn items(&self) -> MutexGuard<'_, HashMap<Key, SealedItem>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Vault for ProcessVault {
    fn load<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<SealedItem>, VaultError>> {
        Box::pin(ready(Ok(self.items().get(key).cloned())))
    }

    fn peek<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ItemState>, VaultError>> {
        Box::pin(ready(Ok(self.items().get(key).map(|item| item.state.clone()))))
    }

    fn peek_all<'a>(
        &'a self,
        keys: &'a [&'a Key],
    ) -> BoxFuture<'a, Result<Vec<Option<ItemState>>, VaultError>> {
        Box::pin(ready(Ok(states(&self.items(), keys))))
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        content: &'a Content,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<u64, VaultError>> {
        Box::pin(ready(put(&mut self.items(), key, content, expected)))
    }

    fn lease<'a>(
        &'a self,
        key: &'a Key,
        expected: u64,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<u64, VaultError>> {
        Box::pin(ready(lease(&mut self.items(), key, expected, until)))
    }

    fn remove<'a>(&'a self, key: &'a Key, expected: u64) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(ready(remove(&mut self.items(), key, expected)))
    }
}

// `FileVault` applies the same rules to the items of its file.

pub(super) fn states<K: Borrow<Key>>(items: &HashMap<Key, SealedItem>, keys: &[K]) -> Vec<Option<ItemState>> {
    keys.iter().map(|key| items.get(key.borrow()).map(|item| item.state.clone())).collect()
}

pub(super) fn put(
    items: &mut HashMap<Key, SealedItem>,
    key: &Key,
    content: &Content,
    expected: Option<u64>,
) -> Result<u64, VaultError> {
    if items.get(key).map(|item| item.state.version) != expected {
        return Err(VaultError::Changed);
    }
    let version = expected.unwrap_or_default() + 1;
    let sub = content.sub.clone();
    let state = ItemState { version, leased_until: None, usable: content.usable, sub };
    items.insert(key.clone(), SealedItem { content: content.clone(), state });
    Ok(version)
}

pub(super) fn lease(
    items: &mut HashMap<Key, SealedItem>,
    key: &Key,
    expected: u64,
    until: Timestamp,
) -> Result<u64, VaultError> {
    let item = items.get_mut(key).filter(|item| item.state.version == expected);
    let state = &mut item.ok_or(VaultError::Changed)?.state;
    (state.version, state.leased_until) = (expected + 1, Some(until));
    Ok(state.version)
}

pub(super) fn remove(
    items: &mut HashMap<Key, SealedItem>,
    key: &Key,
    expected: u64,
) -> Result<(), VaultError> {
    match items.get(key) {
        Some(item) if item.state.version == expected => {
            items.remove(key);
            Ok(())
        }
        _ => Err(VaultError::Changed),
    }
}
