//! Where what was signed in for is kept: [`TokenStore`], and what an item of it is.
//!
//! A store knows nothing of OAuth. It keeps sealed texts under keys, each with a version that a write must
//! name, and a lease: whoever takes it may change what the item stands for in the world outside, one
//! holder at a time across all processes. There is one in DynamoDB, whose items are sealed with KMS; one
//! in a file that only its owner can read, for the command line; one in the process.

mod dynamodb;
mod file;
mod process;
mod seal;

use std::fmt;

use futures::future::BoxFuture;
use jiff::Timestamp;
use secrecy::SecretString;

pub use dynamodb::DynamoDbStore;
pub use file::FileStore;
pub use process::ProcessStore;
pub use seal::Sealer;

use crate::config::{digest, hex};

/// Keeps sealed texts.
///
/// # Errors
/// Each method fails with [`StoreError::Changed`] where a version is not the expected one, with
/// [`StoreError::Unreadable`] where an item is not ours, and as its own medium fails.
pub trait TokenStore: Send + Sync {
    /// The item, unsealed.
    fn load<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Item>, StoreError>>;
    /// The item's version and lease, without unsealing it.
    fn peek<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Standing>, StoreError>>;
    /// Writes the item, if its version is still `expected` (`None`: if there is none); ends a lease.
    fn put<'a>(
        &'a self,
        key: &'a Key,
        content: &'a Content,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;
    /// Takes the lease until then, if the version is still `expected`; gives the version it then has.
    fn lease<'a>(
        &'a self,
        key: &'a Key,
        expected: u64,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<u64, StoreError>>;
    /// Removes the item, if its version is still `expected`.
    fn remove<'a>(&'a self, key: &'a Key, expected: u64) -> BoxFuture<'a, Result<(), StoreError>>;
}

/// Names an item. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key(String);

/// What an item holds, and what it is sealed for: whoever unseals it must know owner, issuer and resource.
#[derive(Debug, Clone)]
pub struct Content {
    /// Whose it is.
    pub owner: String,
    /// Whom it is good at.
    pub issuer: String,
    /// What it is good for.
    pub resource: String,
    /// What is sealed.
    pub text: SecretString,
    /// The owner's `sub`, where it is known: another person may have the owner's name later.
    pub sub: Option<String>,
    /// Whether it is of any use: told without unsealing it.
    pub usable: bool,
    /// From when on it may be thrown away.
    pub expires: Timestamp,
}

/// An item as it was read.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it holds.
    pub content: Content,
    /// Its version and lease.
    pub standing: Standing,
}

/// How an item stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Counts its writes and leases.
    pub version: u64,
    /// Until when somebody holds it.
    pub leased_until: Option<Timestamp>,
    /// Whether what it holds is of any use.
    pub usable: bool,
    /// The owner's `sub`, as in [`Content`].
    pub sub: Option<String>,
}

/// Why nothing was read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Somebody else has changed the item.
    #[error("the connection was changed by somebody else at the same time")]
    Changed,
    /// The table, the key or the file did not answer.
    #[error("the store of connections did not answer ({reason})")]
    Unavailable {
        /// Why, without content.
        reason: String,
    },
    /// The file cannot be read or written.
    #[error("the file of tokens {path} cannot be used ({reason})")]
    File {
        /// Where it is.
        path: String,
        /// Why, without content.
        reason: String,
    },
    /// The file holds something else.
    #[error("the file of tokens {path} holds something else")]
    Garbled {
        /// Where it is.
        path: String,
    },
    /// What was read was not written by us, or for another owner, issuer or resource.
    #[error("an item of the store of connections cannot be unsealed")]
    Unreadable,
}

impl StoreError {
    pub(crate) fn unavailable(reason: impl fmt::Display) -> Self {
        Self::Unavailable { reason: reason.to_string() }
    }

    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Changed => "try again",
            Self::Unavailable { .. } => {
                "check CONNECTIONS_TABLE and CONNECTIONS_KEY, and that this role may use both"
            }
            Self::File { .. } => {
                "see that you may read and write it and its folder, or give another with --tokens"
            }
            Self::Garbled { .. } => "delete it, and sign in again",
            Self::Unreadable => "sign in again; if it stays, see who writes to the table of connections",
        }
    }
}

impl Key {
    /// The key of what `kind` of thing these parts name.
    pub(crate) fn new(kind: &str, parts: &[&str]) -> Self {
        Self(format!("{kind}#{}", hex(&digest(parts))))
    }

    /// As it stands in a table.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
