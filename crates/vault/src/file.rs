//! The vault in a local file, for the command line. Only the file's owner can read it.
//!
//! The file is JSON. Each write creates a new file and renames it to the old one's name. A lock file lets one process
//! write at a time. The items are not encrypted: only the user and root can read the file.

use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use futures::future::BoxFuture;
use jiff::Timestamp;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::{Content, ItemState, Key, SealedItem, Vault, VaultError, process};

/// A vault in one file.
#[derive(Debug, Clone)]
pub struct FileVault {
    path: PathBuf,
    now: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    version: u64,
    leased_until: Option<Timestamp>,
    owner: String,
    issuer: String,
    resource: String,
    text: String,
    #[serde(default)]
    sub: Option<String>,
    usable: bool,
    expires: Timestamp,
}

impl FileVault {
    /// Creates a vault on the file at `path`. The first write creates the file. Each write removes the items that have
    /// expired at `now`.
    pub fn new(path: PathBuf, now: Timestamp) -> Self {
        Self { path, now }
    }

    /// Calls `change` with all items under the lock, and writes the changed items.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut HashMap<Key, SealedItem>) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let (path, now) = (self.path.clone(), self.now);
        let locked = tokio::task::spawn_blocking(move || -> Result<T, VaultError> {
            let _lock = lock(&path).map_err(|error| unavailable(&path, &error))?;
            let mut items = read(&path)?;
            let before: Vec<(Key, ItemState)> = states(&items);
            let outcome = work(&mut items)?;
            if states(&items) != before {
                items.retain(|_, item| now < item.content.expires);
                write(&path, &items).map_err(|error| unavailable(&path, &error))?;
            }
            Ok(outcome)
        });
        locked.await.map_err(|_| VaultError::unavailable("the file was not read to its end"))?
    }
}

impl Vault for FileVault {
    fn load<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<SealedItem>, VaultError>> {
        let key = key.clone();
        Box::pin(self.with(move |items| Ok(items.get(&key).cloned())))
    }

    fn peek<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ItemState>, VaultError>> {
        let key = key.clone();
        Box::pin(self.with(move |items| Ok(items.get(&key).map(|item| item.state.clone()))))
    }

    fn peek_all<'a>(
        &'a self,
        keys: &'a [&'a Key],
    ) -> BoxFuture<'a, Result<Vec<Option<ItemState>>, VaultError>> {
        let keys: Vec<Key> = keys.iter().map(|&key| key.clone()).collect();
        Box::pin(self.with(move |items| Ok(process::states(items, &keys))))
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        content: &'a Content,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<u64, VaultError>> {
        let (key, content) = (key.clone(), content.clone());
        Box::pin(self.with(move |items| process::put(items, &key, &content, expected)))
    }

    fn lease<'a>(
        &'a self,
        key: &'a Key,
        expected: u64,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<u64, VaultError>> {
        let key = key.clone();
        Box::pin(self.with(move |items| process::lease(items, &key, expected, until)))
    }

    fn remove<'a>(&'a self, key: &'a Key, expected: u64) -> BoxFuture<'a, Result<(), VaultError>> {
        let key = key.clone();
        Box::pin(self.with(move |items| process::remove(items, &key, expected)))
    }
}

fn states(items: &HashMap<Key, SealedItem>) -> Vec<(Key, ItemState)> {
    let mut states: Vec<_> = items.iter().map(|(key, item)| (key.clone(), item.state.clone())).collect();
    states.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
    states
}

/// The lock on the file, held until this is dropped.
fn lock(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let lock = options.open(path.with_extension("lock"))?;
    lock.lock()?;
    Ok(lock)
}

fn read(path: &Path) -> Result<HashMap<Key, SealedItem>, VaultError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(error) => return Err(unavailable(path, &error)),
    };
    let stored: HashMap<String, Stored> = serde_json::from_slice(&text)
        .map_err(|_| VaultError::Garbled { path: path.display().to_string() })?;
    let item = |(key, stored): (String, Stored)| {
        let (version, leased_until, usable) = (stored.version, stored.leased_until, stored.usable);
        let state = ItemState { version, leased_until, usable, sub: stored.sub.clone() };
        let content = Content {
            owner: stored.owner,
            issuer: stored.issuer,
            resource: stored.resource,
            text: stored.text.into(),
            sub: stored.sub,
            usable,
            expires: stored.expires,
        };
        (Key(key), SealedItem { content, state })
    };
    Ok(stored.into_iter().map(item).collect())
}

fn write(path: &Path, items: &HashMap<Key, SealedItem>) -> io::Result<()> {
    let stored: HashMap<&str, Stored> = items
        .iter()
        .map(|(key, SealedItem { content, state })| {
            let stored = Stored {
                version: state.version,
                leased_until: state.leased_until,
                owner: content.owner.clone(),
                issuer: content.issuer.clone(),
                resource: content.resource.clone(),
                text: content.text.expose_secret().to_owned(),
                sub: content.sub.clone(),
                usable: content.usable,
                expires: content.expires,
            };
            (key.as_str(), stored)
        })
        .collect();
    // The name is random, so that another user cannot have put a link there. Only the file's owner may read it.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    file.write_all(serde_json::to_string(&stored)?.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

fn unavailable(path: &Path, error: &io::Error) -> VaultError {
    VaultError::File { path: path.display().to_string(), reason: error.kind().to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn content(text: &str) -> Content {
        Content {
            owner: "everybody".into(),
            issuer: "https://a.example".into(),
            resource: "https://b.example/mcp".into(),
            text: text.into(),
            sub: None,
            usable: true,
            expires: Timestamp::MAX,
        }
    }

    #[tokio::test]
    async fn what_is_kept_is_found_again_and_readable_by_its_owner_alone() {
        let folder = std::env::temp_dir().join(format!("mcp-agents-{}", std::process::id()));
        let path = folder.join("deep/tokens.json");
        let (store, key) = (FileVault::new(path.clone(), Timestamp::UNIX_EPOCH), Key::new("grant", &["a"]));
        assert!(store.load(&key).await.unwrap().is_none());
        assert_eq!(store.put(&key, &content("one"), None).await, Ok(1));
        assert_eq!(store.put(&key, &content("two"), None).await, Err(VaultError::Changed));
        let again = FileVault::new(path.clone(), Timestamp::UNIX_EPOCH);
        assert_eq!(again.lease(&key, 1, Timestamp::UNIX_EPOCH).await, Ok(2));
        assert_eq!(again.put(&key, &content("three"), Some(1)).await, Err(VaultError::Changed));
        let item = store.load(&key).await.unwrap().unwrap();
        assert_eq!(item.content.text.expose_secret(), "one");
        assert_eq!(item.state.leased_until, Some(Timestamp::UNIX_EPOCH));
        for (path, mode) in [(path.as_path(), 0o600), (path.parent().unwrap(), 0o700)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
        }
        let over = Content { expires: Timestamp::UNIX_EPOCH, ..content("over") };
        assert_eq!(store.put(&Key::new("state", &["b"]), &over, None).await, Ok(1));
        assert!(store.load(&Key::new("state", &["b"])).await.unwrap().is_none());
        assert_eq!(store.remove(&key, 2).await, Ok(()));
        assert!(store.load(&key).await.unwrap().is_none());
        fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_link_at_the_path_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, target) = (folder.path().join("tokens.json"), folder.path().join("target"));
        fs::write(&target, "other").unwrap();
        symlink(&target, path.with_extension("lock")).unwrap();
        let (store, key) = (FileVault::new(path.clone(), Timestamp::UNIX_EPOCH), Key::new("grant", &["a"]));
        assert!(matches!(store.put(&key, &content("one"), None).await, Err(VaultError::File { .. })));
        fs::remove_file(path.with_extension("lock")).unwrap();
        symlink(&target, path.with_extension("new")).unwrap();
        assert_eq!(store.put(&key, &content("one"), None).await, Ok(1));
        assert_eq!(fs::read_to_string(&target).unwrap(), "other");
    }
}
