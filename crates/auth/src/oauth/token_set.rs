//! The tokens of one token response.

use jiff::Timestamp;
use secrecy::SecretString;

/// The tokens of one token response.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) access: SecretString,
    pub(crate) refresh: Option<SecretString>,
    /// From when on the access token is not to be used any more.
    pub(crate) stale_from: Timestamp,
    /// What it is good for, where that is told.
    pub(crate) scopes: Option<Vec<String>>,
}
