//! The tokens of one token response.

use jiff::Timestamp;
use secrecy::SecretString;

/// The tokens of one token response.
#[derive(Debug, Clone)]
pub(crate) struct TokenSet {
    pub(crate) access: SecretString,
    pub(crate) refresh: Option<SecretString>,
    /// The time from which the access token is not used any more.
    pub(crate) stale_from: Timestamp,
    /// The granted scopes; `None` if the response does not name them.
    pub(crate) scopes: Option<Vec<String>>,
}
