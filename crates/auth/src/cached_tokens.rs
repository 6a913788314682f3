//! The tokens of one sign-in, as this process caches them.

use jiff::Timestamp;
use secrecy::SecretString;

/// The tokens of one sign-in, as this process caches them.
#[derive(Debug, Clone)]
pub(crate) struct CachedTokens {
    pub(crate) access: SecretString,
    /// Cognito's refresh token. Those of OAuth stay in the vault.
    pub(crate) refresh: Option<SecretString>,
    /// The time from which the access token is not used any more.
    pub(crate) stale_from: Timestamp,
    /// False if the access token was read from the vault, where another process may have written it.
    pub(crate) issued_here: bool,
}
