//! The `Authorization` header of a request.

use secrecy::SecretString;

use crate::error::AuthenticationError;

/// Maximum length of a credential, in bytes. API Gateway takes 10 KB of headers.
const MAX_CREDENTIAL_BYTES: usize = 16_384;

/// Returns the credential of the header's value: what follows the scheme `Bearer` or `Token`, in any case.
///
/// # Errors
/// [`AuthenticationError::Malformed`].
pub(crate) fn credential_of(header: &str) -> Result<SecretString, AuthenticationError> {
    let (scheme, credential) = header.trim().split_once(' ').ok_or(AuthenticationError::Malformed)?;
    let credential = credential.trim_start();
    let has_scheme = ["bearer", "token"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    // RFC 6750 §2.1: the credential is a token68.
    let is_token68 = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    let is_credential = !credential.is_empty()
        && credential.len() <= MAX_CREDENTIAL_BYTES
        && credential.bytes().all(is_token68);
    if has_scheme && is_credential { Ok(credential.into()) } else { Err(AuthenticationError::Malformed) }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn check(header: &str, expected: Option<&str>) {
        let credential = credential_of(header).ok();
        assert_eq!(credential.as_ref().map(ExposeSecret::expose_secret), expected, "{header:?}");
    }

    #[test]
    fn the_credential_follows_either_scheme_in_any_case() {
        check("Bearer abc.def-g_h", Some("abc.def-g_h"));
        check("bearer abc", Some("abc"));
        check("Token abc", Some("abc"));
        check("TOKEN  abc", Some("abc"));
        check(" Bearer abc ", Some("abc"));
    }

    #[test]
    fn another_form_is_malformed() {
        let long = format!("Bearer {}", "a".repeat(MAX_CREDENTIAL_BYTES + 1));
        let garbled = [
            "",
            "abc",
            "Bearer",
            "Bearer ",
            "Basic YTpi",
            "Bearer a b",
            "Bearer a,b",
            "Bearer \u{e4}",
            &long,
        ];
        for header in garbled {
            check(header, None);
        }
    }
}
