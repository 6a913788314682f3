//! The OAuth configuration of one MCP server, as its entry gives it.
//!
//! Discovery finds what is absent here. Reads no JSON (`secret` does) and sends nothing.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;
use vault::{digest, hex};

use crate::{
    credential::{ExtraHeaders, scrub},
    user::User,
};

/// The OAuth configuration of one MCP server. Discovery finds what is `None` or empty.
#[derive(Debug, Clone)]
pub struct OAuthConfig {
    /// The MCP endpoint. Discovery begins there, and tokens are for it unless `resource` says otherwise.
    pub server_url: Url,
    /// The grant type; `None` takes the authorization code grant if the server offers it, else client credentials.
    pub grant: Option<GrantType>,
    /// The pre-registered client, if there is one.
    pub client: Option<ClientRegistration>,
    /// The scopes to request; if empty, those that the MCP server names.
    pub scopes: Vec<String>,
    /// `audience`, which some authorization servers require beside or instead of `resource`.
    pub audience: Option<String>,
    /// `resource` (RFC 8707).
    pub resource: ResourceIndicator,
    /// The issuer of the authorization server.
    pub issuer: Option<String>,
    /// The authorization endpoint.
    pub authorization_url: Option<Url>,
    /// The token endpoint.
    pub token_url: Option<Url>,
    /// Headers for every request to the MCP server, the first one of discovery included.
    pub extra_headers: ExtraHeaders,
    /// The owners whose sign-ins may be used, the first one first. Never empty.
    pub owners: Vec<Owner>,
}

/// The grant type of a sign-in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GrantType {
    /// The client signs in with its own credentials.
    ClientCredentials,
    /// A user signs in with a browser.
    AuthorizationCode,
}

/// A client that is registered at an authorization server.
#[derive(Debug, Clone)]
pub struct ClientRegistration {
    /// The client id.
    pub client_id: String,
    /// How the client authenticates.
    pub authentication: ClientAuthentication,
}

/// Client authentication (RFC 6749 §2.3).
#[derive(Debug, Clone)]
pub enum ClientAuthentication {
    /// None: a public client.
    Public,
    /// A client secret, sent by the method that the authorization server's metadata names.
    Secret(SecretString),
    /// A signed assertion (RFC 7523).
    PrivateKey(PrivateKey),
}

/// The private key that signs a client's assertions.
#[derive(Debug, Clone)]
pub struct PrivateKey {
    /// The key, as PEM.
    pub pem: SecretString,
    /// The signing algorithm, such as `ES256`; `None` takes ES256, RS256 or EdDSA, by the kind of key.
    pub algorithm: Option<String>,
    /// The key id (`kid`), if the authorization server has several keys of the client.
    pub key_id: Option<String>,
}

/// `resource` in requests to the authorization server (RFC 8707).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceIndicator {
    /// The `resource` of the server's metadata, else its URL.
    Discovered,
    /// This value, which the server's metadata may then have as `resource` too.
    Given(String),
    /// Omitted: some authorization servers refuse the parameter.
    Omitted,
}

/// The owner of tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Owner {
    /// All users who may use the server.
    Everybody,
    /// One user.
    User(User),
}

impl Owner {
    /// Returns the user's `sub`, if it is known.
    pub(crate) fn sub(&self) -> Option<&str> {
        match self {
            Self::Everybody => None,
            Self::User(user) => user.sub.as_deref(),
        }
    }

    /// Returns true if an item stored with `sub` under this owner's name belongs to another person.
    pub(crate) fn is_another(&self, sub: Option<&str>) -> bool {
        matches!(self, Self::User(user) if user.is_another(sub))
    }

    /// Returns the owner as a text, for vault keys and encryption contexts: `everybody` or `user:{name}`.
    pub fn as_text(&self) -> String {
        match self {
            Self::Everybody => "everybody".to_owned(),
            Self::User(user) => format!("user:{}", user.name),
        }
    }
}

impl OAuthConfig {
    /// Returns true if both use the same sign-ins: an owner's grant for one is also used for the other.
    pub fn shares_sign_ins_with(&self, other: &Self) -> bool {
        self.subject() == other.subject()
    }

    /// Returns what a grant's vault key is made of, without the owner. Two configurations with the same subject share
    /// grants. The texts must not change between versions, or stored grants are not found.
    pub(crate) fn subject(&self) -> Vec<String> {
        let optional = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let can_authenticate = self
            .client
            .as_ref()
            .is_some_and(|client| !matches!(client.authentication, ClientAuthentication::Public));
        let grant_type = match self.grant {
            Some(GrantType::ClientCredentials) => "client",
            Some(GrantType::AuthorizationCode) => "user",
            None if can_authenticate => "either",
            None => "user",
        };
        let resource = match &self.resource {
            ResourceIndicator::Discovered => "discovered".to_owned(),
            ResourceIndicator::Given(resource) => format!("given {resource}"),
            ResourceIndicator::Omitted => "omitted".to_owned(),
        };
        vec![
            self.server_url.to_string(),
            grant_type.to_owned(),
            optional(self.client.as_ref().map(|client| client.client_id.as_str())),
            optional(self.audience.as_deref()),
            resource,
            optional(self.issuer.as_deref()),
            optional(self.token_url.as_ref().map(Url::as_str)),
        ]
    }

    /// Returns subject and first owner: what identifies the sign-in, without secrets.
    pub(crate) fn identity(&self) -> Vec<String> {
        let mut identity = self.subject();
        let owner = self.first_owner();
        identity.push(owner.as_text());
        identity.extend(owner.sub().map(str::to_owned));
        identity
    }

    /// Returns a digest of the whole configuration, secrets included. For comparing within this process only.
    pub(crate) fn fingerprint(&self) -> [u8; 32] {
        let mut parts = self.identity();
        parts.push(hex(&self.extra_headers.fingerprint()));
        parts.extend(self.scopes.iter().cloned());
        match self.client.as_ref().map(|client| &client.authentication) {
            Some(ClientAuthentication::Secret(secret)) => parts.push(secret.expose_secret().to_owned()),
            Some(ClientAuthentication::PrivateKey(key)) => parts.push(key.pem.expose_secret().to_owned()),
            Some(ClientAuthentication::Public) | None => {}
        }
        digest(&parts.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Removes the secrets of this configuration from `text`.
    pub(crate) fn scrub(&self, text: String) -> String {
        let text = self.extra_headers.scrub(text);
        match self.client.as_ref().map(|client| &client.authentication) {
            Some(ClientAuthentication::Secret(secret)) => scrub(text, secret),
            Some(ClientAuthentication::PrivateKey(key)) => scrub(text, &key.pem),
            Some(ClientAuthentication::Public) | None => text,
        }
    }

    /// Returns the configuration for a caller, whose own sign-in is used before everybody's. Client credentials always
    /// belong to everybody.
    pub(crate) fn on_behalf_of(&self, caller: &User) -> Self {
        let own = (self.grant != Some(GrantType::ClientCredentials)).then(|| Owner::User(caller.clone()));
        Self { owners: own.into_iter().chain([Owner::Everybody]).collect(), ..self.clone() }
    }

    /// Returns the owner whose sign-in is preferred.
    pub(crate) fn first_owner(&self) -> &Owner {
        self.owners.first().unwrap_or(&Owner::Everybody)
    }
}
