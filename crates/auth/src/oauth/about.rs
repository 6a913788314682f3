//! What an error is about: where, for what and as which client was asked, and what the entry says.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::config::{ClientProof, OAuthConfig, ResourceIndicator};

/// What was spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The MCP server itself.
    Server,
    /// The server's metadata.
    ResourceMetadata,
    /// The authorization server's metadata.
    ServerMetadata,
    /// Where clients register.
    Registration,
    /// Where a browser is sent.
    Authorization,
    /// Where tokens come from.
    Token,
    /// Where tokens are revoked.
    Revocation,
}

/// What was asked of an authorization server, as far as that is known: a remedy depends on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct About {
    /// What was to be exchanged.
    pub asking: Option<Asking>,
    /// Where the client is from.
    pub client: Option<ClientKind>,
    /// The HTTP status of a refusal.
    pub status: Option<u16>,
    /// What the entry says, which a remedy must fit to.
    pub entry: EntryFacts,
}

/// What of an entry remedies fit to: none tells to do what is done already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryFacts {
    /// How the entry has its client prove itself.
    pub proof: EntryProof,
    /// Whether the entry leaves `resource` out.
    pub omits_resource: bool,
    /// Whether the entry gives scopes.
    pub gives_scopes: bool,
}

/// How an entry has its client prove itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryProof {
    /// Not at all, or there is no client in the entry.
    #[default]
    None,
    /// With a secret.
    Secret,
    /// With a private key.
    PrivateKey,
}

impl EntryFacts {
    pub(crate) fn of(config: &OAuthConfig) -> Self {
        Self {
            proof: match config.client.as_ref().map(|client| &client.proof) {
                Some(ClientProof::Secret(_)) => EntryProof::Secret,
                Some(ClientProof::PrivateKey(_)) => EntryProof::PrivateKey,
                Some(ClientProof::Public) | None => EntryProof::None,
            },
            omits_resource: config.resource == ResourceIndicator::Omitted,
            gives_scopes: !config.scopes.is_empty(),
        }
    }
}

/// What is exchanged for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// An authorization code.
    Code,
    /// A refresh token.
    Refresh,
    /// The client's own proof.
    ClientCredentials,
}

/// Where a client is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientKind {
    /// The entry names it.
    OfEntry,
    /// It registered itself.
    Registered,
    /// Its id is the URL of this client's metadata document.
    Document,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server => "the server",
            Self::ResourceMetadata => "the protected-resource metadata",
            Self::ServerMetadata => "the authorization server's metadata",
            Self::Registration => "the registration endpoint",
            Self::Authorization => "the authorization endpoint",
            Self::Token => "the token endpoint",
            Self::Revocation => "the revocation endpoint",
        })
    }
}
