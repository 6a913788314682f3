//! Storage of sealed items with versions and leases: the trait [`Vault`] and its implementations.
//!
//! A vault knows nothing of OAuth. It stores texts under keys. Each item has a version, which a write must name, and may
//! have a lease. The lease holder is the only process that may send the item's secret, such as a refresh token, to a server.
//! [`DynamoDbVault`] seals its items with KMS and is shared by all processes; [`FileVault`] is the command line's, in a
//! file that only its owner can read; [`ProcessVault`] ends with its process.

mod digest;
mod dynamodb;
mod file;
mod process;
mod seal;

use std::fmt;

use futures::future::BoxFuture;
use jiff::Timestamp;
use secrecy::SecretString;

pub use digest::{digest, hex};
pub use dynamodb::DynamoDbVault;
pub use file::FileVault;
pub use process::ProcessVault;
pub use seal::Sealer;

/// Storage of sealed items.
///
/// # Errors
/// Each method that expects a version fails with [`VaultError::Changed`] if the item has another; each one fails with
/// [`VaultError::Unreadable`] if the item was not written by a vault, and with the errors of its own medium.
pub trait Vault: Send + Sync {
    /// Reads and unseals an item; `None` if there is none.
    fn load<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<SealedItem>, VaultError>>;
    /// Reads an item's state without unsealing it; `None` if there is no item.
    fn peek<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ItemState>, VaultError>>;
    /// Reads the states of several items, in the order of `keys`; `None` where there is no item.
    fn peek_all<'a>(
        &'a self,
        keys: &'a [&'a Key],
    ) -> BoxFuture<'a, Result<Vec<Option<ItemState>>, VaultError>>;
    /// Writes an item if its version is still `expected` (`None`: if there is no item), and ends its lease. Returns the
    /// new version.
    fn put<'a>(
        &'a self,
        key: &'a Key,
        content: &'a Content,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<u64, VaultError>>;
    /// Takes the lease on an item until `until`, if its version is still `expected`. Returns the new version.
    fn lease<'a>(
        &'a self,
        key: &'a Key,
        expected: u64,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<u64, VaultError>>;
    /// Removes an item, if its version is still `expected`.
    fn remove<'a>(&'a self, key: &'a Key, expected: u64) -> BoxFuture<'a, Result<(), VaultError>>;
}

/// The key of an item. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

/// The content of an item. It is sealed for its owner, issuer and resource: unsealing needs all three.
#[derive(Debug, Clone)]
pub struct Content {
    /// The owner, such as `everybody` or `user:ada`.
    pub owner: String,
    /// The issuer: the authorization server that the sealed text is from.
    pub issuer: String,
    /// The resource that the sealed text is for.
    pub resource: String,
    /// The text to seal.
    pub text: SecretString,
    /// The owner's `sub`, if it is known: another person may have the owner's name later.
    pub sub: Option<String>,
    /// False if the text is of no use any more. Readable without unsealing.
    pub usable: bool,
    /// The time from which the item is no longer valid. The vault may delete it then, some time later, so that callers must
    /// check it.
    pub expires: Timestamp,
}

/// An item as it was read, unsealed.
#[derive(Debug, Clone)]
pub struct SealedItem {
    /// Its content.
    pub content: Content,
    /// Its version and lease.
    pub state: ItemState,
}

/// The state of an item, readable without unsealing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemState {
    /// The version: a count of writes and leases.
    pub version: u64,
    /// The end of the last lease, if no write has ended it. It stays after that time: then its holder stored no result.
    pub leased_until: Option<Timestamp>,
    /// As [`Content::usable`].
    pub usable: bool,
    /// As [`Content::sub`].
    pub sub: Option<String>,
}

/// The reason why an item was not read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Another process has changed the item.
    #[error("the connection was changed by another process at the same time")]
    Changed,
    /// The table or the KMS key did not answer.
    #[error("the store of connections did not answer ({reason})")]
    Unavailable {
        /// The reason, without content.
        reason: String,
    },
    /// The file cannot be read or written.
    #[error("the file of tokens {path} cannot be used ({reason})")]
    File {
        /// The path of the file.
        path: String,
        /// The reason, without content.
        reason: String,
    },
    /// The file is not a file of tokens.
    #[error("the file of tokens {path} holds something else")]
    Garbled {
        /// The path of the file.
        path: String,
    },
    /// The item was written by another program, or for another owner, issuer or resource.
    #[error("an item of the store of connections cannot be unsealed")]
    Unreadable,
}

impl VaultError {
    /// An error of the medium, with its reason.
    pub fn unavailable(reason: impl fmt::Display) -> Self {
        Self::Unavailable { reason: reason.to_string() }
    }

    /// Returns the remedy of the error.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Changed => "try again",
            Self::Unavailable { .. } => {
                "try again; if it happens again, check CONNECTIONS_TABLE and CONNECTIONS_KEY, and that this role may use both"
            }
            Self::File { .. } => {
                "see that you may read and write it and its folder, or give another with --tokens"
            }
            Self::Garbled { .. } => {
                "if it is the file of tokens, delete it and sign in again; otherwise give the right file with --tokens"
            }
            Self::Unreadable => {
                "sign in again; if it happens again, check that CONNECTIONS_KEY has not changed, and that no other program writes to CONNECTIONS_TABLE"
            }
        }
    }
}

impl Key {
    /// Creates the key of an item of a kind (`grant`, `state`, …), named by `parts`.
    pub fn new(kind: &str, parts: &[&str]) -> Self {
        Self(format!("{kind}#{}", hex(&digest(parts))))
    }

    /// Returns the key as it is written to a table.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
