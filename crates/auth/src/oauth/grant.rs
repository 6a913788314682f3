//! The grant of a sign-in, as the vault stores it: tokens, issuer, client, scopes, and the reason of its end.
//!
//! Field names are part of the stored format. Sends nothing; [`super::grant_store`] reads and writes grants.

use std::fmt;

use egress::Shown;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use vault::{Content, Key, VaultError};

use super::{
    authorization_server::AuthorizationServer,
    challenge::MAX_SCOPES,
    client_authentication::Client,
    config::{ClientAuthentication, ClientRegistration, OAuthConfig, Owner},
    request_context::ClientKind,
    resource::without_query,
    token_set::TokenSet,
};

/// Time for which unused items of a sign-in stay in the vault, in days: longer than authorization servers accept an
/// unused refresh token.
pub(super) const RETENTION: SignedDuration = SignedDuration::from_hours(24 * 400);

/// The grant of one owner at one authorization server for one resource.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// The authorization server that issued the tokens.
    pub(crate) issuer: String,
    /// The resource indicator (RFC 8707) that the tokens are for.
    pub(crate) resource: Option<String>,
    pub(crate) client: StoredClient,
    #[serde(with = "optional_secret")]
    pub(crate) access: Option<SecretString>,
    #[serde(with = "optional_secret")]
    pub(crate) refresh: Option<SecretString>,
    /// The time from which the access token is not used any more.
    pub(crate) stale_from: Timestamp,
    /// True for the client credentials grant: the client signed in for itself.
    pub(crate) is_clients_own: bool,
    /// The scopes that were requested, and those granted beyond them. Requesting one of them again gains nothing.
    pub(crate) scopes: Vec<String>,
    /// The scopes that the MCP server has asked for since, and the access token lacks.
    pub(crate) wanted: Vec<String>,
    /// True if the authorization server accepts a refresh token once. Assumed until a refresh shows otherwise.
    pub(crate) rotates: bool,
    pub(crate) ended: Option<GrantEndReason>,
    /// The time from which a refused refresh token is sent once more, although the grant has ended.
    #[serde(default)]
    pub(crate) retry_from: Option<Timestamp>,
}

/// A client, as the vault stores it with its tokens or as a registration.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredClient {
    pub(crate) id: String,
    /// The secret of a client that registered itself; the entry has the secret of any other client.
    #[serde(with = "optional_secret")]
    pub(crate) secret: Option<SecretString>,
    /// How the client authenticates: the method of its registration response, or the one that succeeded.
    pub(crate) auth_method: Option<String>,
    /// The redirect URI that the client registered itself with. Issuer and redirect URI name a registration.
    #[serde(default)]
    pub(crate) redirect_uri: Option<String>,
    /// The time at which this registration replaced one that the authorization server seemed to have forgotten.
    #[serde(default)]
    pub(crate) replaced_at: Option<Timestamp>,
}

/// The reason why a grant has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantEndReason {
    /// The authorization server answered `invalid_grant`.
    Revoked {
        /// `error_description`.
        description: Option<String>,
    },
    /// The authorization server refuses the refresh token with another code than `invalid_grant`.
    RefreshRefused {
        /// The error message of the authorization server.
        #[serde(rename = "said")]
        server_message: String,
    },
    /// The authorization server no longer knows the client, which had registered itself.
    ClientForgotten,
    /// The refresh token was sent and the token response was not stored: the refresh token may be used up.
    Lost,
    /// The access token has expired, and there is no refresh token.
    Expired,
    /// The MCP server refuses the access token, and there is no refresh token.
    Refused,
    /// The MCP server names another authorization server.
    IssuerChanged {
        /// The issuer of the sign-in.
        pinned: String,
        /// The issuer that the server names now.
        found: String,
    },
}

/// The reason why a user must sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignInNeeded {
    /// No user has signed in yet.
    Never,
    /// The grant has ended.
    Ended(GrantEndReason),
    /// The grant lacks these scopes.
    Scopes(Vec<String>),
}

impl Grant {
    pub(crate) fn content(&self, config: &OAuthConfig, owner: &Owner, now: Timestamp) -> Content {
        Content {
            owner: owner.as_text(),
            issuer: self.issuer.clone(),
            resource: without_query(self.resource.as_deref().unwrap_or(config.server_url.as_str())),
            text: serde_json::to_string(self).unwrap_or_default().into(),
            sub: owner.sub().map(str::to_owned),
            usable: self.ended.is_none(),
            expires: now + RETENTION,
        }
    }

    pub(crate) fn read(content: &Content) -> Result<Self, VaultError> {
        serde_json::from_str(content.text.expose_secret()).map_err(|_| VaultError::Unreadable)
    }

    /// Replaces the tokens by those of a token response. The grant has not ended any more.
    pub(crate) fn set_tokens(&mut self, tokens: TokenSet) {
        self.access = Some(tokens.access);
        self.stale_from = tokens.stale_from;
        (self.ended, self.retry_from) = (None, None);
        let same = |old: &SecretString, new: &SecretString| old.expose_secret() == new.expose_secret();
        match (&self.refresh, tokens.refresh) {
            (Some(old), Some(new)) => {
                self.rotates = !same(old, &new);
                self.refresh = Some(new);
            }
            (Some(_), None) => self.rotates = false,
            (None, new) => self.refresh = new,
        }
    }

    /// Ends the grant and removes its tokens.
    pub(crate) fn end(&mut self, reason: GrantEndReason) {
        (self.access, self.refresh, self.ended, self.retry_from) = (None, None, Some(reason), None);
    }

    /// Ends the grant but keeps its refresh token, which is sent once more from `retry_from` on: if the authorization
    /// server is repaired by then, no user has to sign in. Only for refusals, after which the token is not used up.
    pub(crate) fn suspend(&mut self, reason: GrantEndReason, retry_from: Timestamp) {
        (self.access, self.ended, self.retry_from) = (None, Some(reason), Some(retry_from));
    }

    /// Returns why the grant has ended; `None` if it has not, or if its refresh token is due to be sent once more.
    pub(crate) fn end_reason(&self, now: Timestamp) -> Option<&GrantEndReason> {
        let is_due = self.refresh.is_some() && self.retry_from.is_some_and(|from| from <= now);
        self.ended.as_ref().filter(|_| !is_due)
    }

    /// Returns the scopes in `needed` that were not requested or granted.
    pub(crate) fn missing_scopes(&self, needed: &[String]) -> Vec<String> {
        needed.iter().filter(|scope| !self.scopes.contains(scope)).cloned().collect()
    }

    /// Returns the scopes to request at the next sign-in.
    pub(crate) fn scopes_to_request(&self, server: &AuthorizationServer) -> Vec<String> {
        if self.wanted.is_empty() {
            server.scopes.clone()
        } else {
            union(&union(&server.scopes, &self.scopes), &self.wanted)
        }
    }
}

/// Returns the scopes of both, without duplicates and at most [`MAX_SCOPES`]: a server could ask for new scopes without
/// end.
pub(crate) fn union(a: &[String], b: &[String]) -> Vec<String> {
    let mut all = a.to_vec();
    all.extend(b.iter().filter(|scope| !a.contains(scope)).cloned());
    all.truncate(MAX_SCOPES.max(a.len()));
    all
}

impl StoredClient {
    /// Returns the client with its current credentials. Those of the entry's client come from the entry and are never
    /// stored.
    pub(crate) fn registration(&self, config: &OAuthConfig) -> ClientRegistration {
        match (&config.client, &self.secret) {
            (Some(known), _) if known.client_id == self.id => known.clone(),
            (_, Some(secret)) => {
                let authentication = ClientAuthentication::Secret(secret.clone());
                ClientRegistration { client_id: self.id.clone(), authentication }
            }
            _ => ClientRegistration {
                client_id: self.id.clone(),
                authentication: ClientAuthentication::Public,
            },
        }
    }

    pub(crate) fn as_client<'a>(
        &'a self,
        registration: &'a ClientRegistration,
        config: &OAuthConfig,
    ) -> Client<'a> {
        Client { registration, auth_method: self.auth_method.as_deref(), kind: self.kind(config) }
    }

    /// Returns a client that did not register itself.
    pub(crate) fn with_id(id: String) -> Self {
        Self { id, secret: None, auth_method: None, redirect_uri: None, replaced_at: None }
    }

    /// Returns the origin of the client.
    pub(crate) fn kind(&self, config: &OAuthConfig) -> ClientKind {
        match &config.client {
            Some(known) if known.client_id == self.id => ClientKind::OfEntry,
            _ if self.redirect_uri.is_none() && self.id.starts_with("https://") => ClientKind::Document,
            _ => ClientKind::Registered,
        }
    }
}

/// Returns the vault key of an owner's grant for a server.
pub(crate) fn grant_key(config: &OAuthConfig, owner: &Owner) -> Key {
    let mut parts = config.subject();
    parts.push(owner.as_text());
    Key::new("grant", &parts.iter().map(String::as_str).collect::<Vec<_>>())
}

impl fmt::Display for SignInNeeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str("nobody has signed in yet"),
            Self::Ended(ended) => ended.fmt(f),
            Self::Scopes(scopes) => {
                write!(f, "the server wants the scopes {}", Shown::new(&scopes.join(" ")))
            }
        }
    }
}

impl fmt::Display for GrantEndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked { description: None } => {
                f.write_str("the authorization server no longer takes the sign-in")
            }
            Self::Revoked { description: Some(description) } => {
                let description = Shown::new(description);
                write!(f, "the authorization server no longer takes the sign-in: {description}")
            }
            Self::RefreshRefused { server_message } => {
                let server_message = Shown::new(server_message);
                write!(f, "the authorization server refuses to renew the sign-in: {server_message}")
            }
            Self::ClientForgotten => f.write_str(
                "the authorization server no longer knows this client, which had registered itself; the next sign-in registers it anew",
            ),
            Self::Lost => f.write_str(
                "a refresh was cut off before its answer was kept, so the refresh token may be used up",
            ),
            Self::Expired => f.write_str("the access token has expired, and there is no refresh token"),
            Self::Refused => {
                f.write_str("the server no longer takes the access token, and there is no refresh token")
            }
            Self::IssuerChanged { pinned, found } => {
                let [pinned, found] = [pinned, found].map(|issuer| Shown::new(issuer));
                write!(
                    f,
                    "the server now names the authorization server {found}, where it was {pinned} at the sign-in"
                )
            }
        }
    }
}

/// Serializes secrets as JSON, for texts that the vault seals.
pub(crate) mod optional_secret {
    use secrecy::{ExposeSecret, SecretString};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(secret: &Option<SecretString>, to: S) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(|secret| secret.expose_secret()).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<SecretString>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Into::into))
    }
}
