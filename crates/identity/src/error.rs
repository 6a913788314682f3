//! The errors of verifying a credential.

/// The reason why a request has no verified caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthenticationError {
    /// The request has no `Authorization` header.
    #[error("the request carries no credential")]
    Missing,
    /// The header has another form than `Bearer TOKEN` or `Token TOKEN`.
    #[error("the Authorization header is neither `Bearer TOKEN` nor `Token TOKEN`")]
    Malformed,
    /// The credential is not valid. The text says why, without the credential.
    #[error("the credential is not valid: {0}")]
    Invalid(&'static str),
    /// The credential could not be verified, because the signing keys could not be read. May pass by itself.
    #[error("the signing keys of the user pool could not be read: {reason}")]
    KeysUnavailable {
        /// The reason, from the HTTP client.
        reason: String,
    },
}
