//! Reads Bearer challenges in `WWW-Authenticate`.
//!
//! Judges nothing: every value is the MCP server's claim. Called by discovery and by `mcp`.
//!
//! Source: RFC 9110 §11.6.1, RFC 6750 §3, RFC 9728 §5.1.

use std::collections::HashMap;

use http::{HeaderMap, header::WWW_AUTHENTICATE};
use url::Url;

/// Number of scopes that are read from one text: scopes are sent to the authorization server and stored.
pub(crate) const MAX_SCOPES: usize = 50;
/// Length limit of a scope, in bytes; longer ones are ignored.
const MAX_SCOPE: usize = 200;

/// A Bearer challenge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenge {
    /// The URL of the server's protected resource metadata.
    pub resource_metadata: Option<Url>,
    /// The scopes that a token needs.
    pub scopes: Vec<String>,
    /// The reason why the server refused the token, as a code.
    pub error: Option<String>,
}

impl Challenge {
    /// Returns the first Bearer challenge in an answer's headers.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::parse(&Self::header(headers))
    }

    /// Returns all `WWW-Authenticate` lines of an answer as one value: each scheme may have its own line.
    pub fn header(headers: &HeaderMap) -> String {
        let lines = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok());
        lines.collect::<Vec<_>>().join(", ")
    }

    /// Returns the first Bearer challenge in a header's value; an empty one if there is none.
    pub fn parse(header: &str) -> Self {
        let parameters = bearer_parameters(header);
        Self {
            resource_metadata: parameters.get("resource_metadata").and_then(|url| Url::parse(url).ok()),
            scopes: parameters.get("scope").map(|text| scopes(text)).unwrap_or_default(),
            error: parameters.get("error").cloned(),
        }
    }

    /// Returns true if the token is valid but lacks scopes.
    pub fn wants_more_scopes(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }
}

/// Returns the valid scopes in a text (RFC 6749 §3.3), at most [`MAX_SCOPES`].
pub(crate) fn scopes(text: &str) -> Vec<String> {
    let is_scope = |word: &&str| {
        word.len() <= MAX_SCOPE && word.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    };
    text.split_ascii_whitespace().filter(is_scope).take(MAX_SCOPES).map(str::to_owned).collect()
}

fn bearer_parameters(header: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    let mut in_bearer = false;
    for part in split_outside_quotes(header) {
        let mut part = part.trim();
        // A scheme precedes its first parameter, separated by a space.
        if let Some((scheme, rest)) = part
            .split_once(' ')
            .filter(|(scheme, rest)| is_token(scheme) && !rest.trim_start().starts_with('='))
        {
            if in_bearer {
                break;
            }
            in_bearer = scheme.eq_ignore_ascii_case("bearer");
            part = rest.trim_start();
        } else if part.eq_ignore_ascii_case("bearer") {
            in_bearer = true;
        }
        if let Some((name, value)) = part.split_once('=').filter(|_| in_bearer) {
            found.entry(name.trim().to_ascii_lowercase()).or_insert_with(|| unquoted(value.trim()));
        }
    }
    found
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else { return value.to_owned() };
    let mut text = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => text.extend(characters.next()),
            other => text.push(other),
        }
    }
    text
}

fn split_outside_quotes(header: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (index, byte) in header.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                parts.push(&header[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&header[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, metadata: Option<&str>, scopes: &[&str], error: Option<&str>) {
        let challenge = Challenge::parse(header);
        assert_eq!(challenge.resource_metadata.as_ref().map(Url::as_str), metadata, "{header}");
        assert_eq!(challenge.scopes, scopes, "{header}");
        assert_eq!(challenge.error.as_deref(), error, "{header}");
    }

    #[test]
    fn challenges_of_many_servers_are_read() {
        check("", None, &[], None);
        check("Bearer", None, &[], None);
        check(r#"Bearer realm="x""#, None, &[], None);
        check(
            r#"Bearer error="invalid_token", error_description="Missing, \"really\"", scope="a b", resource_metadata="https://a.example/m?q=1""#,
            Some("https://a.example/m?q=1"),
            &["a", "b"],
            Some("invalid_token"),
        );
        check(r#"Basic realm="x", bearer scope=one, Digest scope="two""#, None, &["one"], None);
        check(r#"DPoP algs="ES256", scope="no", Bearer scope="yes""#, None, &["yes"], None);
        check(r#"Bearer scope="a" , resource_metadata=not a url"#, None, &["a"], None);
        check(r#"Bearer scope="a"b c\"#, None, &["a"], None);
    }

    proptest::proptest! {
        #[test]
        fn any_header_can_be_parsed(header in ".{0,200}") {
            let challenge = Challenge::parse(&header);
            proptest::prop_assert!(challenge.scopes.iter().all(|scope| !scope.contains(['"', ' ', '\\'])));
        }
    }
}
