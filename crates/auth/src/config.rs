//! The configuration of one server's sign-in, with the checks of its values.
//!
//! Does not sign in ([`crate::SignIn`] does) and reads no JSON (`secret` does).

use std::{fmt, str::FromStr};

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use secrecy::{ExposeSecret, SecretString};
use vault::{digest, hex};

use crate::{
    credential::{is_reserved, scrub, scrub_header},
    oauth::OAuthConfig,
    user::User,
};

/// The sign-in of one MCP server.
#[derive(Debug, Clone)]
pub enum AuthConfig {
    /// No credential.
    None,
    /// A user of a Cognito user pool, whose access token is the bearer token.
    Cognito(CognitoConfig),
    /// A fixed key in a header.
    ApiKey(ApiKeyConfig),
    /// An access token of an OAuth authorization server.
    OAuth(Box<OAuthConfig>),
}

/// A header with an API key.
#[derive(Debug, Clone)]
pub struct ApiKeyConfig {
    header: HeaderName,
    value: SecretString,
}

/// The reason why an API key cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ApiKeyError {
    /// The name is not a header name, or names a header that is not for keys.
    #[error("is not a header that a key may stand in: give one such as X-Api-Key")]
    Header,
    /// The key has characters that a header value cannot have.
    #[error("has characters that cannot stand in a header: look for line breaks and curly quotes")]
    Value,
}

/// A user of an app client of a Cognito user pool.
#[derive(Debug, Clone)]
pub struct CognitoConfig {
    /// The user pool. Its id has the region that the password is sent to.
    pub user_pool_id: UserPoolId,
    /// The app client, which must allow `USER_PASSWORD_AUTH`.
    pub client_id: String,
    /// The app client's secret, if it has one, for `SECRET_HASH`.
    pub client_secret: Option<SecretString>,
    /// The user's name.
    pub username: String,
    /// The user's permanent password.
    pub password: SecretString,
}

/// The id of a Cognito user pool, `{region}_{id}`. It is checked, since the host that receives the password is made of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserPoolId(String);

/// The error of a text that is not the id of a user pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a user pool id of the form `us-east-1_AbCdEf123`")]
pub struct UserPoolIdError;

impl AuthConfig {
    /// Returns what identifies the sign-in, without secrets. It is the same in all processes and after a change of the
    /// password, so that items can be stored under it.
    pub fn identity(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Cognito(c) => {
                // As a quoted list: no two different triples give the same text.
                format!("cognito{:?}", [c.user_pool_id.as_str(), &c.client_id, &c.username])
            }
            // Two keys count as two users: nothing else is known of a key's user.
            Self::ApiKey(key) => format!("api_key{:?}", hex(&key.fingerprint())),
            Self::OAuth(config) => format!("oauth{:?}", config.identity()),
        }
    }

    /// Returns a digest of the whole configuration, secrets included, so that it changes with a password. For comparing
    /// within this process only.
    pub fn fingerprint(&self) -> [u8; 32] {
        match self {
            Self::None => [0; 32],
            Self::Cognito(config) => config.key(),
            Self::ApiKey(key) => key.fingerprint(),
            Self::OAuth(config) => config.fingerprint(),
        }
    }

    /// Removes the secrets of this configuration from `text`: servers quote what they were sent.
    pub fn scrub(&self, text: String) -> String {
        let secrets: Vec<&SecretString> = match self {
            Self::None => Vec::new(),
            Self::Cognito(config) => config.client_secret.iter().chain([&config.password]).collect(),
            Self::ApiKey(key) => return scrub_header(text, &key.value),
            Self::OAuth(config) => return config.scrub(text),
        };
        secrets.into_iter().fold(text, scrub)
    }

    /// Returns the OAuth configuration; `None` for another kind.
    pub(crate) fn as_oauth(&self) -> Option<&OAuthConfig> {
        match self {
            Self::OAuth(config) => Some(config),
            _ => None,
        }
    }

    /// Returns the configuration for `user`: OAuth then prefers the user's own tokens.
    pub fn on_behalf_of(&self, user: &User) -> Self {
        match self {
            Self::OAuth(config) => Self::OAuth(Box::new(config.on_behalf_of(user))),
            other => other.clone(),
        }
    }
}

impl ApiKeyConfig {
    /// Makes the header `{header}: {scheme} {key}`. The default header is `Authorization`; without a scheme the value is
    /// the key.
    ///
    /// # Errors
    /// [`ApiKeyError`].
    pub fn new(header: Option<&str>, scheme: Option<&str>, key: &SecretString) -> Result<Self, ApiKeyError> {
        let header = match header.map(HeaderName::try_from) {
            None => AUTHORIZATION,
            Some(Ok(header)) if header == AUTHORIZATION || !is_reserved(&header) => header,
            Some(_) => return Err(ApiKeyError::Header),
        };
        let key = key.expose_secret().trim();
        let value = scheme.map_or_else(|| key.to_owned(), |scheme| format!("{scheme} {key}"));
        HeaderValue::from_str(&value).map_err(|_| ApiKeyError::Value)?;
        Ok(Self { header, value: value.into() })
    }

    pub(crate) fn credential(&self) -> crate::Credential {
        crate::Credential::header(self.header.clone(), self.value.clone())
    }

    fn fingerprint(&self) -> [u8; 32] {
        digest(&[self.header.as_str(), self.value.expose_secret()])
    }
}

impl CognitoConfig {
    pub(crate) fn key(&self) -> [u8; 32] {
        let client_secret = self.client_secret.as_ref().map_or("", |secret| secret.expose_secret());
        digest(&[
            self.user_pool_id.as_str(),
            &self.client_id,
            client_secret,
            &self.username,
            self.password.expose_secret(),
        ])
    }
}

impl UserPoolId {
    /// Returns the pool's region: the part before the underscore.
    pub fn region(&self) -> &str {
        self.0.split_once('_').map_or("", |(region, _)| region)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserPoolId {
    type Err = UserPoolIdError;

    /// Cognito's pattern is `[\w-]+_[0-9a-zA-Z]+`, at most 55 characters. The region must also look like one of AWS
    /// (`us-east-1`, `us-gov-west-1`).
    fn from_str(text: &str) -> Result<Self, UserPoolIdError> {
        let (region, id) = text.split_once('_').ok_or(UserPoolIdError)?;
        let id_fits = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if text.len() <= 55 && id_fits && is_region(region) {
            Ok(Self(text.to_owned()))
        } else {
            Err(UserPoolIdError)
        }
    }
}

impl fmt::Display for UserPoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns true for texts such as `us-east-1`: at least two groups of lower-case letters, then a number.
fn is_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((number, words)) = parts.split_last() else { return false };
    words.len() >= 2
        && words.iter().all(|word| word.len() >= 2 && word.bytes().all(|b| b.is_ascii_lowercase()))
        && (1..=2).contains(&number.len())
        && number.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: &str, region: Option<&str>) {
        let parsed = id.parse::<UserPoolId>().ok();
        assert_eq!(parsed.as_ref().map(UserPoolId::region), region, "{id:?}");
    }

    #[test]
    fn a_pool_id_names_its_region_or_is_refused() {
        check("us-east-1_AbCdEf123", Some("us-east-1"));
        check("us-gov-west-1_x", Some("us-gov-west-1"));
        check("ap-southeast-2_0", Some("ap-southeast-2"));
        for malformed in [
            "",
            "us-east-1",
            "us-east-1_",
            "_AbC",
            "evil.example.com#_AbC",
            "evil.example.com/us-east-1_AbC",
            "us-east-1.evil.example_AbC",
            "us-east-1@evil_AbC",
            "US-EAST-1_AbC",
            "us-east-1_AbC_D",
            "us-east-1_Ab C",
            "useast1_AbC",
            "us-east-1 _AbC",
        ] {
            check(malformed, None);
        }
    }

    #[test]
    fn identity_leaves_secrets_out_and_the_fingerprint_does_not() {
        let config = |password: &str| {
            AuthConfig::Cognito(CognitoConfig {
                user_pool_id: "us-east-1_Pool".parse().unwrap(),
                client_id: "client".into(),
                client_secret: None,
                username: "user".into(),
                password: password.into(),
            })
        };
        assert_eq!(config("one").identity(), r#"cognito["us-east-1_Pool", "client", "user"]"#);
        assert_eq!(config("one").identity(), config("two").identity());
        assert_ne!(config("one").fingerprint(), config("two").fingerprint());
        assert!(!format!("{:?}", config("canary-password")).contains("canary"));
    }
}
