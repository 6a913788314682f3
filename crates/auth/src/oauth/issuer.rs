//! Issuer identifiers.

/// Returns true if two texts name one issuer: people and documents differ on a trailing slash, and on nothing else.
pub(super) fn is_same_issuer(a: &str, b: &str) -> bool {
    a.strip_suffix('/').unwrap_or(a) == b.strip_suffix('/').unwrap_or(b)
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
