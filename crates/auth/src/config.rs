//! What is known of signing in to one server, checked where it has a form of its own.
//!
//! Does no signing in ([`crate::SignIn`]) and reads no JSON (`catalog`).

use std::{fmt, str::FromStr};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// How one MCP server is signed in to.
#[derive(Debug, Clone)]
pub enum AuthConfig {
    /// Not at all.
    None,
    /// With a user of a Cognito user pool; its access token is the bearer token.
    Cognito(CognitoConfig),
}

/// One user of one app client of one Cognito user pool.
#[derive(Debug, Clone)]
pub struct CognitoConfig {
    /// The pool; its id names the region that the password goes to.
    pub user_pool_id: UserPoolId,
    /// The app client, which must allow `USER_PASSWORD_AUTH`.
    pub client_id: String,
    /// The app client's secret, if it has one: goes into `SECRET_HASH`.
    pub client_secret: Option<SecretString>,
    /// The user's name.
    pub username: String,
    /// The user's permanent password.
    pub password: SecretString,
}

/// The id of a Cognito user pool, `{region}_{id}`, checked: a garbled one would name the host that
/// receives a password.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct UserPoolId(String);

/// The text is not the id of a user pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a user pool id of the form `us-east-1_AbCdEf123`")]
pub struct UserPoolIdError;

/// Identifies one credential, its secrets included: two configurations with different passwords
/// differ. Stays in the process; never written or logged.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct CredentialKey([u8; 32]);

impl AuthConfig {
    /// Who signs in, without any secret: stable across processes and password changes, so that what
    /// was learned of a server under it can be kept under it.
    pub fn identity(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Cognito(c) => {
                // As a JSON-like list: no two different triples read the same.
                format!("cognito{:?}", [c.user_pool_id.as_str(), &c.client_id, &c.username])
            }
        }
    }

    /// A digest of everything that signing in depends on, secrets included: changes when a password
    /// does. For comparing within the process only.
    pub fn fingerprint(&self) -> [u8; 32] {
        match self {
            Self::None => [0; 32],
            Self::Cognito(config) => config.key().0,
        }
    }
}

impl CognitoConfig {
    pub(crate) fn key(&self) -> CredentialKey {
        let mut digest = Sha256::new();
        let client_secret = self.client_secret.as_ref().map_or("", |secret| secret.expose_secret());
        for part in [
            self.user_pool_id.as_str(),
            &self.client_id,
            client_secret,
            &self.username,
            self.password.expose_secret(),
        ] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        CredentialKey(digest.finalize().into())
    }
}

impl UserPoolId {
    /// The region that the pool is in: what stands before the underscore.
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

    /// Cognito's own form is `[\w-]+_[0-9a-zA-Z]+`, at most 55 characters; the region is held to that
    /// of AWS regions (`us-east-1`, `us-gov-west-1`) as well.
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

/// `us-east-1`: at least two groups of lower-case letters, then a number.
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
        for garbled in [
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
            check(garbled, None);
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
