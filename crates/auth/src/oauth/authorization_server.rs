//! The result of discovery: the authorization server of an MCP server, and what to request from it.
//!
//! Part of a pending sign-in in the vault: field names are part of the stored format.

use serde::{Deserialize, Serialize};
use url::Url;

use super::config::GrantType;

/// The authorization server of one MCP server, as discovery found it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuthorizationServer {
    /// The issuer identifier that its metadata was looked up for.
    pub issuer: String,
    /// True if a document or the entry names the issuer; false if it is the origin of the token endpoint.
    pub issuer_is_told: bool,
    /// Other values of `iss` that a redirect may have, if the issuer is named.
    #[serde(default)]
    pub other_iss: Vec<String>,
    /// The authorization endpoint, which the user's browser is sent to.
    pub authorization_endpoint: Option<Url>,
    /// The token endpoint.
    pub token_endpoint: Url,
    /// The registration endpoint (RFC 7591).
    pub registration_endpoint: Option<Url>,
    /// The revocation endpoint (RFC 7009).
    pub revocation_endpoint: Option<Url>,
    /// The methods of client authentication at the token endpoint.
    pub token_endpoint_auth_methods: Vec<String>,
    /// The announced grant types; `None` if the metadata does not say.
    #[serde(default)]
    pub grant_types: Option<Vec<String>>,
    /// True if a client id may be the URL of a client ID metadata document.
    pub takes_client_metadata_documents: bool,
    /// True if its redirects always have `iss` (RFC 9207).
    pub announces_iss: bool,
    /// `resource` in requests to it (RFC 8707); `None` if it is omitted.
    pub resource: Option<String>,
    /// The scopes to request.
    pub scopes: Vec<String>,
    /// The grant type to use.
    pub grant: GrantType,
}

#[cfg(test)]
impl AuthorizationServer {
    /// Returns an authorization server for users at `https://a.example` without any option.
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

/// What the MCP server says of itself: in its 401, and in its protected resource metadata.
pub(super) struct ProtectedResource {
    /// `resource` in requests to the authorization server; `None` if it is omitted.
    pub(super) resource: Option<String>,
    /// The issuers of its authorization servers.
    pub(super) issuers: Vec<String>,
    /// True if its metadata names the issuers; false if the server's own origin stands for them.
    pub(super) issuers_are_named: bool,
    /// The scopes to request, if the entry has none.
    pub(super) scopes: Vec<String>,
}
