//! The context of an error: the endpoint, the token request, the client, and the entry.
//!
//! Remedies and verdicts depend on it. Decides nothing itself.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::config::{ClientAuthentication, OAuthConfig, ResourceIndicator};

/// The endpoint or document that a request was sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// The MCP server itself.
    McpServer,
    /// The protected resource metadata of the MCP server (RFC 9728).
    ResourceMetadata,
    /// The authorization server's metadata (RFC 8414, OpenID Connect Discovery).
    AuthorizationServerMetadata,
    /// The registration endpoint (RFC 7591).
    Registration,
    /// The authorization endpoint, which the user's browser is sent to.
    Authorization,
    /// The token endpoint.
    Token,
    /// The revocation endpoint (RFC 7009).
    Revocation,
}

/// The context of a refusal, as far as it is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestContext {
    /// The kind of token request, if it was one.
    pub token_request: Option<TokenRequestKind>,
    /// The origin of the client.
    pub client: Option<ClientKind>,
    /// The HTTP status of a refusal.
    pub status: Option<u16>,
    /// What the entry says.
    pub entry: EntryFacts,
}

/// The facts of an entry that remedies depend on, so that no remedy asks for what the entry has already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryFacts {
    /// How the entry's client authenticates.
    #[serde(rename = "proof")]
    pub authentication: EntryAuthentication,
    /// True if the entry omits `resource`.
    pub omits_resource: bool,
    /// True if the entry has scopes.
    pub gives_scopes: bool,
}

/// How an entry's client authenticates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryAuthentication {
    /// It does not, or the entry has no client.
    #[default]
    None,
    /// With a client secret.
    Secret,
    /// With a private key (RFC 7523).
    PrivateKey,
}

impl EntryFacts {
    pub(crate) fn of(config: &OAuthConfig) -> Self {
        Self {
            authentication: match config.client.as_ref().map(|client| &client.authentication) {
                Some(ClientAuthentication::Secret(_)) => EntryAuthentication::Secret,
                Some(ClientAuthentication::PrivateKey(_)) => EntryAuthentication::PrivateKey,
                Some(ClientAuthentication::Public) | None => EntryAuthentication::None,
            },
            omits_resource: config.resource == ResourceIndicator::Omitted,
            gives_scopes: !config.scopes.is_empty(),
        }
    }
}

/// The kind of a token request, by what it exchanges for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenRequestKind {
    /// An authorization code.
    AuthorizationCode,
    /// A refresh token.
    RefreshToken,
    /// The client's own credentials.
    ClientCredentials,
}

/// The origin of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientKind {
    /// The entry has its id.
    OfEntry,
    /// It registered itself (RFC 7591).
    Registered,
    /// Its id is the URL of this backend's client metadata document.
    Document,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::McpServer => "the server",
            Self::ResourceMetadata => "the protected-resource metadata",
            Self::AuthorizationServerMetadata => "the authorization server's metadata",
            Self::Registration => "the registration endpoint",
            Self::Authorization => "the authorization endpoint",
            Self::Token => "the token endpoint",
            Self::Revocation => "the revocation endpoint",
        })
    }
}
