//! The result of discovery: an authorization server, and what is asked of it.

use serde::{Deserialize, Serialize};
use url::Url;

use super::config::GrantType;

/// The authorization server of one MCP server, as discovery found it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthorizationServer {
    /// Its identifier: what it was looked up as.
    pub issuer: String,
    /// Whether that is told, and not just made up of where its endpoints are.
    pub issuer_is_told: bool,
    /// What `iss` in a redirect may say beside a told `issuer`.
    #[serde(default)]
    pub other_iss: Vec<String>,
    /// Where a browser is sent.
    pub authorization_endpoint: Option<Url>,
    /// Where tokens come from.
    pub token_endpoint: Url,
    /// Where clients register.
    pub registration_endpoint: Option<Url>,
    /// Where tokens are revoked.
    pub revocation_endpoint: Option<Url>,
    /// How clients may prove who they are at the token endpoint.
    pub token_endpoint_auth_methods: Vec<String>,
    /// The grants that the authorization server announces; `None` if it is silent.
    #[serde(default)]
    pub grant_types: Option<Vec<String>>,
    /// Whether a client's id may be the URL of its own metadata.
    pub takes_client_metadata_documents: bool,
    /// Whether its redirects always name it.
    pub announces_iss: bool,
    /// What `resource` says in requests to it, if anything.
    pub resource: Option<String>,
    /// What to ask for.
    pub scopes: Vec<String>,
    /// Who signs in.
    pub grant: GrantType,
}

#[cfg(test)]
impl AuthorizationServer {
    /// One that signs in users at `https://a.example`, and offers nothing beyond that.
    pub(super) fn example() -> Self {
        #[expect(clippy::unwrap_used, reason = "a constant of tests")]
        let token_endpoint = Url::parse("https://a.example/token").unwrap();
        Self {
            issuer: "https://a.example".into(),
            issuer_is_told: true,
            other_iss: Vec::new(),
            authorization_endpoint: None,
            token_endpoint,
            registration_endpoint: None,
            revocation_endpoint: None,
            token_endpoint_auth_methods: Vec::new(),
            grant_types: None,
            takes_client_metadata_documents: false,
            announces_iss: false,
            resource: None,
            scopes: Vec::new(),
            grant: GrantType::AuthorizationCode,
        }
    }
}

/// The MCP server's answers to a request without a credential and for its metadata.
pub(super) struct Asked {
    pub(super) resource: Option<String>,
    /// Its authorization servers.
    pub(super) issuers: Vec<String>,
    /// Whether it names them, and they are not just its own origin.
    pub(super) issuers_are_named: bool,
    pub(super) scopes: Vec<String>,
}
