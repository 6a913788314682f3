//! What a test sets: the features of the stand-in, and the faults of its token requests.

use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::Semaphore;

/// The server's features and metadata.
#[derive(Debug, Clone)]
pub struct Settings {
    /// True if each refresh replaces the refresh token.
    pub rotates: bool,
    /// `expires_in` of access tokens, in seconds.
    pub expires_in: u64,
    /// True if clients can register themselves: the metadata has a `registration_endpoint`, and it works.
    pub registers: bool,
    /// The path of the authorization server's metadata; other well-known paths answer 404.
    pub metadata_path: &'static str,
    /// Members of the authorization server's metadata that replace the default ones; `null` removes one.
    pub metadata: Map<String, Value>,
    /// True if the MCP server has protected resource metadata.
    pub has_resource_metadata: bool,
    /// True if the MCP server's 401 has the URL of its metadata.
    pub challenges: bool,
    /// `resource` in the MCP server's metadata; `None` stands for its URL.
    pub resource: Option<String>,
    /// The authorization servers in the MCP server's metadata; `None` stands for this one.
    pub authorization_servers: Option<Vec<String>>,
    /// True if a client's secret is accepted in the form only, and not as HTTP Basic.
    pub takes_secrets_in_form_alone: bool,
    /// Scopes with which a registration is refused.
    pub refused_scopes: Vec<&'static str>,
}

/// A fault of one token request. The server processes the request nevertheless, unless the fault is a refusal.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The server refuses with this status and error code, and does not process the request.
    Refuse(u16, &'static str),
    /// The HTTP connection ends before the answer is complete.
    LoseAnswer,
    /// The answer is not JSON.
    Garble,
    /// The server answers when the semaphore has a permit.
    Hold(Arc<Semaphore>),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rotates: true,
            expires_in: 3_600,
            registers: true,
            metadata_path: "/.well-known/oauth-authorization-server",
            metadata: Map::new(),
            has_resource_metadata: true,
            challenges: true,
            resource: None,
            authorization_servers: None,
            takes_secrets_in_form_alone: false,
            refused_scopes: Vec::new(),
        }
    }
}
