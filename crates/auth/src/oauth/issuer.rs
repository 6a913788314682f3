//! Issuer identifiers: comparing them, and recognizing templates of them.

/// Returns true if two texts name the same issuer. A trailing slash makes no difference, since people and documents write
/// it or leave it out; everything else does.
pub(super) fn is_same_issuer(a: &str, b: &str) -> bool {
    a.strip_suffix('/').unwrap_or(a) == b.strip_suffix('/').unwrap_or(b)
}

/// Returns true if an issuer is a template, such as the `common` one of Entra ID:
/// `https://login.example.com/{tenantid}/v2.0`.
pub(super) fn is_template(issuer: &str) -> bool {
    issuer.split_once('{').is_some_and(|(_, rest)| rest.contains('}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_slash_makes_no_other_issuer() {
        assert!(is_same_issuer("https://a.example/", "https://a.example"));
        assert!(!is_same_issuer("https://a.example/b", "https://a.example"));
        assert!(!is_same_issuer("https://a.example//", "https://a.example"));
    }
}
