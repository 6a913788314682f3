//! A store that lives as long as its process: where there is no table, sign-ins by clients themselves
//! still work, each environment for itself.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::future::{BoxFuture, ready};
use jiff::Timestamp;

use super::{Content, Item, Key, Standing, StoreError, TokenStore};

/// Items in memory.
#[derive(Debug, Default)]
pub struct ProcessStore(Mutex<HashMap<Key, Item>>);

impl ProcessStore {
    fn items(&self) -> MutexGuard<'_, HashMap<Key, Item>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenStore for ProcessStore {
    fn load<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Item>, StoreError>> {
        Box::pin(ready(Ok(self.items().get(key).cloned())))
    }

    fn peek<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Standing>, StoreError>> {
        Box::pin(ready(Ok(self.items().get(key).map(|item| item.standing.clone()))))
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        content: &'a Content,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(ready(put(&mut self.items(), key, content, expected)))
    }

    fn lease<'a>(
        &'a self,
        key: &'a Key,
        expected: u64,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
        Box::pin(ready(lease(&mut self.items(), key, expected, until)))
    }

    fn remove<'a>(&'a self, key: &'a Key, expected: u64) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(ready(remove(&mut self.items(), key, expected)))
    }
}

// The same rules hold for the items of a file.

pub(super) fn put(
    items: &mut HashMap<Key, Item>,
    key: &Key,
    content: &Content,
    expected: Option<u64>,
) -> Result<u64, StoreError> {
    if items.get(key).map(|item| item.standing.version) != expected {
        return Err(StoreError::Changed);
    }
    let version = expected.unwrap_or_default() + 1;
    let sub = content.sub.clone();
    let standing = Standing { version, leased_until: None, usable: content.usable, sub };
    items.insert(key.clone(), Item { content: content.clone(), standing });
    Ok(version)
}

pub(super) fn lease(
    items: &mut HashMap<Key, Item>,
    key: &Key,
    expected: u64,
    until: Timestamp,
) -> Result<u64, StoreError> {
    let item = items.get_mut(key).filter(|item| item.standing.version == expected);
    let standing = &mut item.ok_or(StoreError::Changed)?.standing;
    (standing.version, standing.leased_until) = (expected + 1, Some(until));
    Ok(standing.version)
}

pub(super) fn remove(items: &mut HashMap<Key, Item>, key: &Key, expected: u64) -> Result<(), StoreError> {
    match items.get(key) {
        Some(item) if item.standing.version == expected => {
            items.remove(key);
            Ok(())
        }
        _ => Err(StoreError::Changed),
    }
}
