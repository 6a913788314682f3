//! What is known of signing in to one server with OAuth before anybody has asked that server.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;
use vault::{digest, hex};

use crate::{
    credential::{ExtraHeaders, scrub},
    user::User,
};

/// How the access tokens of one server are got. What is `None` or empty is found out from the server.
#[derive(Debug, Clone)]
pub struct OAuthConfig {
    /// The MCP endpoint: where discovery begins, and what tokens are for unless `resource` says otherwise.
    pub server_url: Url,
    /// Who signs in; `None` takes whichever the authorization server offers, a user first.
    pub grant: Option<GrantType>,
    /// The client registered beforehand, if there is one.
    pub client: Option<ClientRegistration>,
    /// What to ask for; empty leaves it to the server's own words.
    pub scopes: Vec<String>,
    /// `audience`, which some authorization servers want beside or instead of `resource`.
    pub audience: Option<String>,
    /// What `resource` (RFC 8707) says.
    pub resource: ResourceIndicator,
    /// The authorization server, where it is not to be found out.
    pub issuer: Option<String>,
    /// Its authorization endpoint, where that is not to be found out.
    pub authorization_url: Option<Url>,
    /// Its token endpoint, where that is not to be found out.
    pub token_url: Option<Url>,
    /// What the server wants to see on every request, the first one too.
    pub extra_headers: ExtraHeaders,
    /// The owners whose sign-ins may be used, the first one first. Never empty.
    pub owners: Vec<Owner>,
}

/// Who signs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantType {
    /// The client itself.
    ClientCredentials,
    /// A user, in a browser.
    AuthorizationCode,
}

/// A client that an authorization server knows.
#[derive(Debug, Clone)]
pub struct ClientRegistration {
    /// Its id.
    pub client_id: String,
    /// How it proves to be that client.
    pub proof: ClientProof,
}

/// How a client proves who it is.
#[derive(Debug, Clone)]
pub enum ClientProof {
    /// Not at all: a public client.
    Public,
    /// With a secret, in the way that the authorization server's metadata says.
    Secret(SecretString),
    /// With a signed assertion (RFC 7523).
    PrivateKey(PrivateKey),
}

/// What signs a client's assertions.
#[derive(Debug, Clone)]
pub struct PrivateKey {
    /// The key, as PEM.
    pub pem: SecretString,
    /// `ES256`, `RS256`, …; `None` takes the usual one for the kind of key.
    pub algorithm: Option<String>,
    /// The key's id, where the authorization server knows several.
    pub key_id: Option<String>,
}

/// What `resource` says in requests to the authorization server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceIndicator {
    /// What the server's own metadata calls itself, else its URL.
    Discovered,
    /// This, which the server's metadata may then call itself too.
    Given(String),
    /// Nothing: some authorization servers refuse the parameter.
    Omitted,
}

/// Whose tokens they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// Everybody who may use the server.
    Everybody,
    /// One user.
    User(User),
}

impl Owner {
    /// The `sub` of the one user, where it is known.
    pub(crate) fn sub(&self) -> Option<&str> {
        match self {
            Self::Everybody => None,
            Self::User(user) => user.sub.as_deref(),
        }
    }

    /// Returns true if what was kept for `sub` under the same words is another person's.
    pub(crate) fn is_another(&self, sub: Option<&str>) -> bool {
        matches!(self, Self::User(user) if user.is_another(sub))
    }

    /// As it stands in keys and encryption contexts.
    pub fn as_text(&self) -> String {
        match self {
            Self::Everybody => "everybody".to_owned(),
            Self::User(user) => format!("user:{}", user.name),
        }
    }
}

impl OAuthConfig {
    /// Whether both use the same sign-ins: one owner's grant for the one is the other's too.
    pub fn shares_sign_ins_with(&self, other: &Self) -> bool {
        self.subject() == other.subject()
    }

    /// All that decides whose grants are used but the owner, in words that stay as they are: it names items
    /// that last. Two configurations that read the same share grants.
    pub(crate) fn subject(&self) -> Vec<String> {
        let optional = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let can_prove =
            self.client.as_ref().is_some_and(|client| !matches!(client.proof, ClientProof::Public));
        let who_signs_in = match self.grant {
            Some(GrantType::ClientCredentials) => "client",
            Some(GrantType::AuthorizationCode) => "user",
            None if can_prove => "either",
            None => "user",
        };
        let resource = match &self.resource {
            ResourceIndicator::Discovered => "discovered".to_owned(),
            ResourceIndicator::Given(resource) => format!("given {resource}"),
            ResourceIndicator::Omitted => "omitted".to_owned(),
        };
        vec![
            self.server_url.to_string(),
            who_signs_in.to_owned(),
            optional(self.client.as_ref().map(|client| client.client_id.as_str())),
            optional(self.audience.as_deref()),
            resource,
            optional(self.issuer.as_deref()),
            optional(self.token_url.as_ref().map(Url::as_str)),
        ]
    }

    pub(crate) fn identity(&self) -> Vec<String> {
        let mut identity = self.subject();
        let owner = self.first_owner();
        identity.push(owner.as_text());
        identity.extend(owner.sub().map(str::to_owned));
        identity
    }

    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut parts = self.identity();
        parts.push(hex(&self.extra_headers.fingerprint()));
        parts.extend(self.scopes.iter().cloned());
        match self.client.as_ref().map(|client| &client.proof) {
            Some(ClientProof::Secret(secret)) => parts.push(secret.expose_secret().to_owned()),
            Some(ClientProof::PrivateKey(key)) => parts.push(key.pem.expose_secret().to_owned()),
            Some(ClientProof::Public) | None => {}
        }
        digest(&parts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// `text` without the secrets that are configured here.
    pub(crate) fn scrub(&self, text: String) -> String {
        let text = self.extra_headers.scrub(text);
        match self.client.as_ref().map(|client| &client.proof) {
            Some(ClientProof::Secret(secret)) => scrub(text, secret),
            Some(ClientProof::PrivateKey(key)) => scrub(text, &key.pem),
            Some(ClientProof::Public) | None => text,
        }
    }

    /// The same for a caller: their own sign-in is used before everybody's. A client signs itself in for everybody.
    pub(crate) fn on_behalf_of(&self, caller: &User) -> Self {
        let own = (self.grant != Some(GrantType::ClientCredentials)).then(|| Owner::User(caller.clone()));
        Self { owners: own.into_iter().chain([Owner::Everybody]).collect(), ..self.clone() }
    }

    /// The owner whose sign-in is used if there is one.
    pub(crate) fn first_owner(&self) -> &Owner {
        self.owners.first().unwrap_or(&Owner::Everybody)
    }
}
