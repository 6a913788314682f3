//! The credential of a request, and the removal of its secrets from texts.
//!
//! Gets no tokens ([`crate::SignIn`] does).

use std::{fmt, sync::Arc};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use url::form_urlencoded;

/// The text that replaces a removed secret.
pub const REDACTED: &str = "[credential]";
/// The characters to escape in ids and secrets: all but RFC 3986's unreserved characters.
pub(crate) const UNRESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Length of the shortest secret that is removed from texts, in bytes: a shorter one may be part of ordinary words.
const SHORTEST_SECRET: usize = 6;

/// The credential of a request to an MCP server. Its `Debug` output has no secrets.
#[derive(Debug, Clone, Default)]
pub struct Credential {
    /// The header of the sign-in.
    own: Option<(HeaderName, SecretString)>,
    extra: ExtraHeaders,
    /// True if this process got the token from the authorization server, false if it read it from the vault.
    issued_here: bool,
}

/// An entry's own headers, sent with every request to its server.
#[derive(Debug, Clone, Default)]
pub struct ExtraHeaders(Vec<(HeaderName, SecretString)>);

/// The reason why an entry may not set a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExtraHeaderError {
    /// The header belongs to the sign-in, to HTTP or to MCP.
    #[error("is a header that is not for entries to set")]
    Reserved,
    /// The name is not a header name.
    #[error("is not a header's name")]
    Name,
    /// The value has characters that a header value cannot have.
    #[error("has a value that cannot stand in a header")]
    Value,
}

impl Credential {
    /// Returns a credential without any header.
    pub fn none() -> Self {
        Self::default()
    }

    pub(crate) fn bearer(token: &SecretString) -> Self {
        Self::header(AUTHORIZATION, format!("Bearer {}", token.expose_secret()).into())
    }

    pub(crate) fn header(name: HeaderName, value: SecretString) -> Self {
        Self { own: Some((name, value)), extra: ExtraHeaders::default(), issued_here: true }
    }

    pub(crate) fn issued_here(self, issued_here: bool) -> Self {
        Self { issued_here, ..self }
    }

    /// Adds an entry's own headers.
    pub fn with(self, extra: &ExtraHeaders) -> Self {
        Self { extra: extra.clone(), ..self }
    }

    /// Returns true if the credential has a header of the sign-in.
    pub fn signs_in(&self) -> bool {
        self.own.is_some()
    }

    /// Returns true if this process got the token from the authorization server. False if another process got it and
    /// this one read it from the vault: it may have been revoked since, so that renewing it once more may help.
    pub fn is_issued_here(&self) -> bool {
        self.issued_here
    }

    /// Returns the headers, marked as sensitive. A value that a header cannot have is omitted.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        self.extra.0.iter().chain(&self.own).filter_map(|(name, value)| {
            let mut value = HeaderValue::from_str(value.expose_secret()).ok()?;
            value.set_sensitive(true);
            Some((name.clone(), value))
        })
    }

    /// Returns a scrubber for this credential's secrets: servers quote what they were sent.
    pub fn scrubber(&self) -> Scrubber {
        let values = self.extra.secrets().chain(self.own.iter().map(|(_, value)| value));
        Scrubber(values.flat_map(header_forms).collect())
    }

    /// Returns true if both have the same header of the sign-in.
    pub fn is_same(&self, other: &Self) -> bool {
        let secret = |credential: &Self| {
            credential.own.as_ref().map(|(name, value)| (name.clone(), value.expose_secret().to_owned()))
        };
        secret(self) == secret(other)
    }
}

/// Removes secrets from texts, in every form in which they may have been sent: as they are, or escaped for a form or a URL.
/// Cheap to clone.
#[derive(Clone)]
pub struct Scrubber(Arc<[String]>);

impl Scrubber {
    /// Removes the secrets from `text`.
    pub fn scrub(&self, text: String) -> String {
        self.0.iter().fold(
            text,
            |text, form| {
                if text.contains(form) { text.replace(form, REDACTED) } else { text }
            },
        )
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrubber")
    }
}

/// Removes `secret` from `text`.
pub(crate) fn scrub(text: String, secret: &SecretString) -> String {
    Scrubber(forms(secret.expose_secret()).into()).scrub(text)
}

/// Removes a header's value from `text`, and the part of the value after its scheme (`Bearer …`).
pub(crate) fn scrub_header(text: String, value: &SecretString) -> String {
    Scrubber(header_forms(value).into()).scrub(text)
}

fn header_forms(value: &SecretString) -> Vec<String> {
    let value = value.expose_secret().trim();
    let bare = value.rsplit(' ').next().unwrap_or_default();
    [forms(bare), forms(value)].concat()
}

/// Returns the forms in which a secret may appear; none if it is shorter than [`SHORTEST_SECRET`].
fn forms(secret: &str) -> Vec<String> {
    let secret = secret.trim();
    if secret.len() < SHORTEST_SECRET {
        return Vec::new();
    }
    let in_form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let in_url = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let in_header = utf8_percent_encode(secret, UNRESERVED).to_string();
    let with_spaces = in_form.replace('+', "%20");
    let mut forms = vec![secret.to_owned(), in_form, with_spaces, in_url, in_header];
    let lower: Vec<String> = forms.iter().map(|form| lower_escapes(form)).collect();
    forms.extend(lower);
    forms.sort();
    forms.dedup();
    forms
}

/// Returns `text` with its escapes in lower case: `%2f` for `%2F`.
fn lower_escapes(text: &str) -> String {
    let mut since_percent = 3;
    let lower = |c: char| {
        since_percent = if c == '%' { 0 } else { since_percent + 1 };
        if since_percent <= 2 { c.to_ascii_lowercase() } else { c }
    };
    text.chars().map(lower).collect()
}

impl ExtraHeaders {
    /// Adds a header.
    ///
    /// # Errors
    /// [`ExtraHeaderError`].
    pub fn add(&mut self, name: &str, value: SecretString) -> Result<(), ExtraHeaderError> {
        let name = HeaderName::try_from(name).map_err(|_| ExtraHeaderError::Name)?;
        if is_reserved(&name) {
            return Err(ExtraHeaderError::Reserved);
        }
        HeaderValue::from_str(value.expose_secret()).map_err(|_| ExtraHeaderError::Value)?;
        self.0.push((name, value));
        Ok(())
    }

    /// Removes the values that may be secret from `text`.
    pub fn scrub(&self, text: String) -> String {
        self.secrets().fold(text, scrub_header)
    }

    /// Returns the values that may be secret. Others are ordinary words (`X-Client: production`), which may also be part of
    /// texts and tool names.
    fn secrets(&self) -> impl Iterator<Item = &SecretString> {
        self.0
            .iter()
            .filter(|(name, value)| may_be_secret(name.as_str(), value.expose_secret()))
            .map(|(_, value)| value)
    }

    /// Returns a digest of all names and values.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for (name, value) in &self.0 {
            for part in [name.as_str(), value.expose_secret()] {
                digest.update(part.len().to_be_bytes());
                digest.update(part);
            }
        }
        digest.finalize().into()
    }
}

/// Returns true if a header or parameter has a name like a secret's, or a value like one: long, of letters and digits.
pub(crate) fn may_be_secret(name: &str, value: &str) -> bool {
    const WORDS: [&str; 11] = [
        "key",
        "token",
        "secret",
        "pass",
        "auth",
        "cookie",
        "credential",
        "session",
        "signature",
        "jwt",
        "bearer",
    ];
    const LONG: usize = 12;
    let has = |is: fn(&char) -> bool| value.chars().any(|character| is(&character));
    WORDS.iter().any(|word| name.contains(word))
        || (value.len() >= LONG && has(char::is_ascii_digit) && has(char::is_ascii_alphabetic))
}

/// Returns true if an entry may not set a header: those of the sign-in, of routing, of framing, and of MCP.
pub(crate) fn is_reserved(name: &HeaderName) -> bool {
    const RESERVED: [&str; 15] = [
        "accept",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "last-event-id",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "keep-alive",
    ];
    RESERVED.contains(&name.as_str()) || name.as_str().starts_with("mcp-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_removed_with_and_without_their_scheme() {
        let mut extra = ExtraHeaders::default();
        extra.add("x-key", "extra-secret".into()).unwrap();
        extra.add("x-no", "no".into()).unwrap();
        let credential = Credential::bearer(&"canary-token".into()).with(&extra);
        let scrubbed =
            credential.scrubber().scrub("you sent Bearer canary-token and extra-secret, no?".to_owned());
        assert_eq!(scrubbed, "you sent Bearer [credential] and [credential], no?");
        assert!(!format!("{credential:?}").contains("canary"));
    }

    #[test]
    fn ordinary_words_of_extra_headers_stay() {
        let check = |name: &str, value: &str, is_secret: bool| {
            assert_eq!(may_be_secret(name, value), is_secret, "{name}: {value}");
        };
        check("x-client", "production", false);
        check("x-team", "customer-relations", false);
        check("x-tenant", "8f14e45fceea167a", true);
        check("x-api-key", "production", true);
        check("x-session", "orders", true);
    }

    #[test]
    fn secrets_are_removed_in_every_escaped_form() {
        let secret = "Canary 1!x+/=".into();
        for sent in
            ["Canary+1%21x%2B%2F%3D", "Canary%201%21x%2b%2f%3d", "Canary 1!x+/=", "Canary%201%21x%2B%2F%3D"]
        {
            assert_eq!(scrub(format!("a={sent}&b"), &secret), "a=[credential]&b", "{sent}");
        }
    }

    #[test]
    fn entries_may_not_set_reserved_headers() {
        let add = |name: &str| ExtraHeaders::default().add(name, "value".into());
        for name in ["Authorization", "HOST", "Mcp-Session-Id", "mcp-protocol-version", "Accept"] {
            assert_eq!(add(name), Err(ExtraHeaderError::Reserved), "{name}");
        }
        assert_eq!(add("x y"), Err(ExtraHeaderError::Name));
        assert_eq!(ExtraHeaders::default().add("x", "a\nb".into()), Err(ExtraHeaderError::Value));
        assert_eq!(add("X-Mcp-Client"), Ok(()));
    }
}
