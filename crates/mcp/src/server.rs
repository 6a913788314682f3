//! Where one MCP server is and how it is spoken to.

use std::fmt;

use auth::{AuthConfig, ExtraHeaders, User};
use sha2::{Digest, Sha256};
use url::Url;

use crate::selection::ToolSelection;

/// One MCP server under one credential.
#[derive(Debug, Clone)]
pub struct McpServer {
    /// Its MCP endpoint.
    pub url: Url,
    /// How it is spoken to.
    pub transport: TransportKind,
    /// How it is signed in to.
    pub auth: AuthConfig,
    /// What it wants to see on every request beside that.
    pub extra_headers: ExtraHeaders,
    /// Which of its tools are offered.
    pub tools: ToolSelection,
}

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TransportKind {
    /// One endpoint for all messages.
    #[default]
    StreamableHttp,
    /// HTTP+SSE, as it was before 2025-03-26.
    Sse,
}

/// Names a server and who signs in to it, without any secret: what is known of its tools is kept
/// under this. The same in every process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerKey(String);

impl McpServer {
    /// A server spoken to over streamable HTTP, without headers of its own, all of whose tools are offered.
    pub fn new(url: Url, auth: AuthConfig) -> Self {
        Self {
            url,
            transport: TransportKind::default(),
            auth,
            extra_headers: ExtraHeaders::default(),
            tools: ToolSelection::default(),
        }
    }

    /// The same, signed in to on behalf of `user` where it matters whose tokens are used.
    pub fn on_behalf_of(&self, user: &User) -> Self {
        Self { auth: self.auth.on_behalf_of(user), ..self.clone() }
    }

    /// `text` without the secrets of its entry.
    pub fn scrub(&self, text: String) -> String {
        self.extra_headers.scrub(self.auth.scrub(text))
    }

    /// The key that this server's tools are kept under.
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
        // A header may say who is asking.
        digest.update(self.extra_headers.fingerprint());
        ServerKey(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The URL as it may be shown: without user info, query and fragment, where people put keys.
    pub fn shown_url(&self) -> String {
        let port = self.url.port().map(|port| format!(":{port}")).unwrap_or_default();
        let host = self.url.host_str().unwrap_or_default();
        format!("{}://{host}{port}{}", self.url.scheme(), self.url.path())
    }
}

impl ServerKey {
    /// The key as 64 hexadecimal digits.
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
    fn the_key_tells_servers_and_users_apart_but_not_passwords() {
        let key = |url, user| server(url, user).key();
        let alice = key("https://a.example/mcp", Some(("alice", "one")));
        assert_eq!(alice, key("https://a.example/mcp", Some(("alice", "two"))));
        assert_ne!(alice, key("https://a.example/mcp", Some(("bob", "one"))));
        assert_ne!(alice, key("https://b.example/mcp", Some(("alice", "one"))));
        assert_ne!(alice, key("https://a.example/mcp", None));
    }

    #[test]
    fn a_shown_url_has_no_place_for_a_key() {
        let shown = server("https://user:key@a.example:8443/mcp?api_key=key#key", None).shown_url();
        assert_eq!(shown, "https://a.example:8443/mcp");
    }
}
