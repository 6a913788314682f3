//! Where one MCP server is and how it is spoken to.

use std::fmt;

use auth::AuthConfig;
use sha2::{Digest, Sha256};
use url::Url;

/// One MCP server under one credential. The transport is streamable HTTP.
#[derive(Debug, Clone)]
pub struct McpServer {
    /// Its MCP endpoint.
    pub url: Url,
    /// How it is signed in to.
    pub auth: AuthConfig,
}

/// Names a server and who signs in to it, without any secret: what is known of its tools is kept
/// under this. The same in every process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerKey(String);

impl McpServer {
    /// The key that this server's tools are kept under.
    pub fn key(&self) -> ServerKey {
        let mut digest = Sha256::new();
        for part in ["streamable_http", self.url.as_str(), &self.auth.identity()] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
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
        McpServer { url: url.parse().unwrap(), auth }
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
