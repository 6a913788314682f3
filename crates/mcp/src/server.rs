//! The address, transport and sign-in of one MCP server, and the key that its tools are cached under.
//!
//! Plain data: opens no session and reads no secret. Built by `secret` from an entry and by the command line.

use std::fmt;

use auth::{AuthConfig, ExtraHeaders, User};
use sha2::{Digest, Sha256};
use url::Url;

use crate::selection::ToolSelection;

/// One MCP server with one sign-in.
#[derive(Debug, Clone)]
pub struct McpServer {
    /// The URL of its MCP endpoint.
    pub url: Url,
    /// The transport that it supports.
    pub transport: TransportKind,
    /// The sign-in.
    pub auth: AuthConfig,
    /// Headers that every request carries in addition to the credential.
    pub extra_headers: ExtraHeaders,
    /// The tools that the entry offers.
    pub tools: ToolSelection,
}

/// The transport of an MCP server.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TransportKind {
    /// Streamable HTTP: one endpoint for all messages.
    #[default]
    StreamableHttp,
    /// HTTP+SSE of revision 2024-11-05, which streamable HTTP replaced in 2025-03-26.
    Sse,
}

/// The cache key of a server with its sign-in: a digest of the transport, the URL, the identity that signs in and the
/// extra headers. Contains no password or token in readable form. The same in every process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerKey(String);

impl McpServer {
    /// Creates a server with streamable HTTP, without extra headers, all of whose tools are offered.
    pub fn new(url: Url, auth: AuthConfig) -> Self {
        Self {
            url,
            transport: TransportKind::default(),
            auth,
            extra_headers: ExtraHeaders::default(),
            tools: ToolSelection::default(),
        }
    }

    /// Returns the same server for `user`: a sign-in with tokens of users takes this user's tokens.
    pub fn on_behalf_of(&self, user: &User) -> Self {
        Self { auth: self.auth.on_behalf_of(user), ..self.clone() }
    }

    /// Returns `text` with the secrets of the entry removed.
    pub fn scrub(&self, text: String) -> String {
        self.extra_headers.scrub(self.auth.scrub(text))
    }

    /// Returns the key that this server's tools are cached under.
    pub fn key(&self) -> ServerKey {
        let mut digest = Sha256::new();
        let transport = match self.transport {
            TransportKind::StreamableHttp => "streamable_http",
            TransportKind::Sse => "sse",
        };
        for part in [transport, self.url.as_str(), &self.auth.identity()] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        // A header may name the user, and the list may depend on the user.
        digest.update(self.extra_headers.fingerprint());
        ServerKey(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Returns the URL for logs and messages: without user info, query and fragment, which may contain keys.
    pub fn shown_url(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = self.url.host_str().unwrap_or_default();
        format!("{}://{host}{port}{}", self.url.scheme(), self.url.path())
    }
}

impl ServerKey {
    /// Returns the key as 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ServerKey {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str, username: Option<(&str, &str)>) -> McpServer {
        let auth = match username {
            None => AuthConfig::None,
            Some((username, password)) => AuthConfig::Cognito(auth::CognitoConfig {
                user_pool_id: "us-east-1_Pool".parse().unwrap(),
                client_id: "client".into(),
                client_secret: None,
                username: username.into(),
                password: password.into(),
            }),
        };
        McpServer::new(url.parse().unwrap(), auth)
    }

    #[test]
    fn keys_differ_by_server_and_user_but_not_by_password() {
        let key = |url, user| server(url, user).key();
        let alice = key("https://a.example/mcp", Some(("alice", "one")));
        assert_eq!(alice, key("https://a.example/mcp", Some(("alice", "two"))));
        assert_ne!(alice, key("https://a.example/mcp", Some(("bob", "one"))));
        assert_ne!(alice, key("https://b.example/mcp", Some(("alice", "one"))));
        assert_ne!(alice, key("https://a.example/mcp", None));
    }

    #[test]
    fn a_shown_url_has_no_user_info_query_or_fragment() {
        let shown = server("https://user:key@a.example:8443/mcp?api_key=key#key", None).shown_url();
        assert_eq!(shown, "https://a.example:8443/mcp");
    }
}
