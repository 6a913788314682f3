//! What a request to a server carries to say who it is from.

use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};

/// What a request carries. Its secret shows in no `Debug` output.
#[derive(Debug, Clone, Default)]
pub struct Credential {
    bearer: Option<SecretString>,
}

impl Credential {
    /// No credential at all.
    pub fn none() -> Self {
        Self::default()
    }

    pub(crate) fn bearer(token: SecretString) -> Self {
        Self { bearer: Some(token) }
    }

    /// The `Authorization` header, marked as sensitive; `None` without a credential, or with one that
    /// cannot stand in a header.
    pub fn authorization(&self) -> Option<HeaderValue> {
        let token = self.bearer.as_ref()?;
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// `text` without the secret: servers quote what they were sent.
    pub fn scrub(&self, text: String) -> String {
        match self.bearer.as_ref().map(|bearer| bearer.expose_secret()) {
            Some(secret) if !secret.is_empty() && text.contains(secret) => {
                text.replace(secret, "[credential]")
            }
            _ => text,
        }
    }

    /// Whether both carry the same secret.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let secret = |credential: &Self| credential.bearer.as_ref().map(|b| b.expose_secret().to_owned());
        secret(self) == secret(other)
    }
}
