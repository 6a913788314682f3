//! What is kept of a sign-in: tokens, who gave them to whom, and why they are no longer good.

use egress::Shown;
use std::fmt;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::resource::in_clear;
use super::{
    about::ClientKind,
    authorization_server::AuthorizationServer,
    challenge::MAX_SCOPES,
    client_proof::Client,
    config::{ClientProof, ClientRegistration, OAuthConfig, Owner},
    token_set::Tokens,
};
use vault::{Content, Key, VaultError};

/// How long what belongs to a sign-in is kept that nobody uses: longer than refresh tokens live that nobody
/// uses.
pub(super) const KEPT: SignedDuration = SignedDuration::from_hours(24 * 400);

/// What one owner has been granted at one authorization server for one resource.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) issuer: String,
    pub(crate) resource: Option<String>,
    pub(crate) client: StoredClient,
    #[serde(with = "optional_secret")]
    pub(crate) access: Option<SecretString>,
    #[serde(with = "optional_secret")]
    pub(crate) refresh: Option<SecretString>,
    pub(crate) stale_from: Timestamp,
    /// Whether the client signed in for itself.
    pub(crate) is_clients_own: bool,
    /// What was asked for or granted beyond that: asking for it again gets no further.
    pub(crate) scopes: Vec<String>,
    /// What a server asked for since, and this is not good for.
    pub(crate) wanted: Vec<String>,
    /// Whether a refresh token is good for one use. Taken to be so until a refresh shows otherwise.
    pub(crate) rotates: bool,
    pub(crate) ended: Option<Ended>,
    /// From when on a refresh token that was refused is tried once more, though the grant has ended.
    #[serde(default)]
    pub(crate) retry_from: Option<Timestamp>,
}

/// A client as it is kept beside its tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StoredClient {
    pub(crate) id: String,
    /// Only of a client that registered itself: others have theirs in the entry.
    #[serde(with = "optional_secret")]
    pub(crate) secret: Option<SecretString>,
    /// How it proves itself: what its registration was answered with, or what worked.
    pub(crate) auth_method: Option<String>,
    /// The redirect URI that it registered itself with: with the issuer, it names the registration.
    #[serde(default)]
    pub(crate) redirect_uri: Option<String>,
    /// When it took the place of one that the authorization server seemed to have forgotten.
    #[serde(default)]
    pub(crate) replaced_at: Option<Timestamp>,
}

/// Why a grant is no longer good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The authorization server says so.
    Revoked {
        /// What it says about it.
        description: Option<String>,
    },
    /// The authorization server refuses the refresh, with another code than that of a grant that is gone.
    RefreshRefused {
        /// What it says.
        said: String,
    },
    /// The authorization server no longer knows the client, which had registered itself.
    ClientForgotten,
    /// A refresh was sent and its answer never kept: the refresh token may be used up.
    Lost,
    /// The access token is over, and there is nothing to refresh it with.
    Expired,
    /// The server takes the token no more, and there is nothing to get another with.
    Refused,
    /// The server names another authorization server.
    IssuerChanged {
        /// Whom it named at the sign-in.
        pinned: String,
        /// Whom it names now.
        found: String,
    },
}

/// Why a user must sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignInNeeded {
    /// Nobody has yet.
    Never,
    /// What was granted is no longer good.
    Ended(Ended),
    /// What was granted is not enough.
    Scopes(Vec<String>),
}

impl Grant {
    pub(crate) fn content(&self, config: &OAuthConfig, owner: &Owner, now: Timestamp) -> Content {
        Content {
            owner: owner.as_text(),
            issuer: self.issuer.clone(),
            resource: in_clear(self.resource.as_deref().unwrap_or(config.server_url.as_str())),
            text: serde_json::to_string(self).unwrap_or_default().into(),
            sub: owner.sub().map(str::to_owned),
            usable: self.ended.is_none(),
            expires: now + KEPT,
        }
    }

    pub(crate) fn read(content: &Content) -> Result<Self, VaultError> {
        serde_json::from_str(content.text.expose_secret()).map_err(|_| VaultError::Unreadable)
    }

    /// Takes in what a token endpoint gave.
    pub(crate) fn take(&mut self, tokens: Tokens) {
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

    /// Ends it: its tokens go.
    pub(crate) fn end(&mut self, ended: Ended) {
        (self.access, self.refresh, self.ended, self.retry_from) = (None, None, Some(ended), None);
    }

    /// Ends it but for its refresh token, which is tried once more at `retry_from`: a server that is mended then
    /// heals it without a user. Only for refusals, after which the token cannot have been used.
    pub(crate) fn suspend(&mut self, ended: Ended, retry_from: Timestamp) {
        (self.access, self.ended, self.retry_from) = (None, Some(ended), Some(retry_from));
    }

    /// Why it is no longer good at `now`; `None` if it is, or if its refresh token is due to be tried once more.
    pub(crate) fn over(&self, now: Timestamp) -> Option<&Ended> {
        let is_due = self.refresh.is_some() && self.retry_from.is_some_and(|from| from <= now);
        self.ended.as_ref().filter(|_| !is_due)
    }

    /// The scopes that `needed` has beyond those that were asked for.
    pub(crate) fn lacks(&self, needed: &[String]) -> Vec<String> {
        needed.iter().filter(|scope| !self.scopes.contains(scope)).cloned().collect()
    }

    /// What to ask for the next time.
    pub(crate) fn scopes_to_ask_for(&self, server: &AuthorizationServer) -> Vec<String> {
        if self.wanted.is_empty() {
            server.scopes.clone()
        } else {
            union(&union(&server.scopes, &self.scopes), &self.wanted)
        }
    }
}

/// Both, as far as one request may name scopes: servers that ask for ever more are not followed for ever.
pub(crate) fn union(a: &[String], b: &[String]) -> Vec<String> {
    let mut all = a.to_vec();
    all.extend(b.iter().filter(|scope| !a.contains(scope)).cloned());
    all.truncate(MAX_SCOPES.max(a.len()));
    all
}

impl StoredClient {
    /// As it goes to the token endpoint: an entry's own proof is never kept, and always the newest.
    pub(crate) fn registration(&self, config: &OAuthConfig) -> ClientRegistration {
        match (&config.client, &self.secret) {
            (Some(known), _) if known.client_id == self.id => known.clone(),
            (_, Some(secret)) => {
                let proof = ClientProof::Secret(secret.clone());
                ClientRegistration { client_id: self.id.clone(), proof }
            }
            _ => ClientRegistration { client_id: self.id.clone(), proof: ClientProof::Public },
        }
    }

    pub(crate) fn as_client<'a>(
        &'a self,
        registration: &'a ClientRegistration,
        config: &OAuthConfig,
    ) -> Client<'a> {
        Client { registration, auth_method: self.auth_method.as_deref(), kind: self.kind(config) }
    }

    /// A client that did not register itself.
    pub(crate) fn known(id: String) -> Self {
        Self { id, secret: None, auth_method: None, redirect_uri: None, replaced_at: None }
    }

    /// Where the client is from.
    pub(crate) fn kind(&self, config: &OAuthConfig) -> ClientKind {
        match &config.client {
            Some(known) if known.client_id == self.id => ClientKind::OfEntry,
            _ if self.redirect_uri.is_none() && self.id.starts_with("https://") => ClientKind::Document,
            _ => ClientKind::Registered,
        }
    }
}

/// Where what an owner was granted for a server is kept.
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

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Revoked { description: None } => {
                f.write_str("the authorization server no longer takes the sign-in")
            }
            Self::Revoked { description: Some(description) } => {
                let description = Shown::new(description);
                write!(f, "the authorization server no longer takes the sign-in: {description}")
            }
            Self::RefreshRefused { said } => {
                write!(f, "the authorization server refuses to renew the sign-in: {}", Shown::new(said))
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

/// Secrets as JSON, inside what is sealed as a whole.
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
