//! Allowed origins: the web pages that the callback page may notify, from `OAUTH_ALLOWED_ORIGINS`.
//!
//! The callback page posts a message to the page that opened it, if the start of the sign-in named that page's origin
//! and the origin is allowed. Pages of other origins receive no message.

use std::str::FromStr;

use auth::is_loopback;
use url::Url;

/// The allowed origins, compared as text: `https://app.example.com`, or `http://localhost:3000` for development.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AllowedOrigins(Vec<String>);

/// The error for a text that is not an origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an origin: write scheme, host and port alone, such as https://app.example.com; http is taken on this \
     machine alone, and `*` never"
)]
pub(crate) struct NotAnOrigin(String);

impl AllowedOrigins {
    /// Returns true if the origin is allowed.
    pub(crate) fn contains(&self, origin: &str) -> bool {
        self.0.iter().any(|allowed| allowed == origin)
    }
}

impl FromStr for AllowedOrigins {
    type Err = NotAnOrigin;

    /// Reads origins that are separated by commas.
    fn from_str(text: &str) -> Result<Self, NotAnOrigin> {
        let origins = text.split(',').map(str::trim).filter(|origin| !origin.is_empty());
        let checked = origins.map(|origin| match is_origin(origin) {
            true => Ok(origin.to_owned()),
            false => Err(NotAnOrigin(origin.to_owned())),
        });
        checked.collect::<Result<_, _>>().map(Self)
    }
}

/// Returns true if the text is an origin as browsers write it: in lower case, without the scheme's default port.
fn is_origin(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        let is_safe = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
        is_safe && url.origin().ascii_serialization() == text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_separated_by_commas_and_compared_as_a_whole() {
        let origins: AllowedOrigins = "https://a.example, http://localhost:3000,".parse().unwrap();
        assert!(origins.contains("https://a.example") && origins.contains("http://localhost:3000"));
        for other in [
            "",
            "*",
            "null",
            "https://a.example:8443",
            "http://a.example",
            "https://a.example/",
            "https://A.example",
        ] {
            assert!(!origins.contains(other), "{other}");
        }
        assert_eq!("".parse(), Ok(AllowedOrigins::default()));
    }

    #[test]
    fn a_text_that_is_not_an_origin_is_refused() {
        for text in [
            "*",
            "null",
            "a.example",
            "https://a.example/",
            "https://a.example/page",
            "http://a.example",
            "https://a.example:443",
            "HTTPS://a.example",
        ] {
            assert!(text.parse::<AllowedOrigins>().is_err(), "{text}");
        }
    }
}
