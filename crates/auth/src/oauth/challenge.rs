//! What a server says in `WWW-Authenticate`.
//!
//! Source: RFC 9110 §11.6.1, RFC 6750 §3, RFC 9728 §5.1.

use std::collections::HashMap;

use http::{HeaderMap, header::WWW_AUTHENTICATE};
use url::Url;

/// How many scopes one challenge may name, and how long each may be: they are sent on and stored.
pub(crate) const MAX_SCOPES: usize = 50;
const MAX_SCOPE: usize = 200;

/// What a Bearer challenge holds; everything in it is the server's claim.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Challenge {
    /// Where the server's metadata is.
    pub resource_metadata: Option<Url>,
    /// What a token must be good for.
    pub scopes: Vec<String>,
    /// Why the token it was sent will not do, as a code.
    pub error: Option<String>,
}

impl Challenge {
    /// The first Bearer challenge in an answer's headers.
    pub fn of(headers: &HeaderMap) -> Self {
        Self::parse(&Self::header(headers))
    }

    /// All that an answer says in `WWW-Authenticate`: each scheme may have a line of its own.
    pub fn header(headers: &HeaderMap) -> String {
        let lines = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|line| line.to_str().ok());
        lines.collect::<Vec<_>>().join(", ")
    }

    /// The first Bearer challenge in a header's value; an empty one if there is none.
    pub fn parse(header: &str) -> Self {
        let parameters = bearer_parameters(header);
        Self {
            resource_metadata: parameters.get("resource_metadata").and_then(|url| Url::parse(url).ok()),
            scopes: parameters.get("scope").map(|text| scopes(text)).unwrap_or_default(),
            error: parameters.get("error").cloned(),
        }
    }

    /// Whether the token is good, but not for this.
    pub fn wants_more_scopes(&self) -> bool {
        self.error.as_deref() == Some("insufficient_scope")
    }
}

/// The scopes in a text, as far as they are scopes (RFC 6749 §3.3).
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
        // A scheme stands before the first of its parameters, with a space between.
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
        fn nothing_a_server_says_breaks_it(header in ".{0,200}") {
            let challenge = Challenge::parse(&header);
            proptest::prop_assert!(challenge.scopes.iter().all(|scope| !scope.contains(['"', ' ', '\\'])));
        }
    }
}
