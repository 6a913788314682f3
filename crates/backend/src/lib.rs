//! The parts that every binary with MCP servers is built from: the configuration, the sign-ins, the connector and the
//! catalog.
//!
//! Called once, at cold start. Makes no decision during an invocation.

mod identity;

use std::{sync::Arc, time::Duration};

pub use identity::IdentityConfig;

use auth::{OAuth, SignIn};
use aws_config::SdkConfig;
use catalog::{AgentSource, Catalog};
use egress::{Deadlines, EgressPolicy, HttpClient};
use mcp::{CacheLimits, Connector, SnapshotStore, ToolCache};
use tokio::time::{Instant, timeout_at};
use url::Url;
use vault::{DynamoDbVault, ProcessVault, Sealer, Vault};

use runtime::{ConfigError, Vars};
use secret::{SecretAgents, SecretsManager};

/// Time limit for opening an HTTP connection (TCP and TLS) to an MCP server or an authorization server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The configuration that all functions with MCP servers share.
#[derive(Debug, Clone)]
pub struct BackendConfig {
    /// The secret with the entries.
    pub secret: SecretConfig,
    /// The addresses of MCP servers that may be reached.
    pub mcp: McpConfig,
    /// `CONNECTIONS_TABLE` and `CONNECTIONS_KEY`: the vault for tokens. Without a table, tokens are cached in the
    /// process.
    pub connections: Option<ConnectionsConfig>,
    /// `CATALOG_TABLE`: the DynamoDB table for tool lists, if there is one.
    pub catalog_table: Option<String>,
    /// `TOOL_CACHE_TTL_SECONDS` (default 900) and `DISCOVERY_TIMEOUT_SECONDS` (default 8).
    pub cache: CacheLimits,
}

/// The secret that lists the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretConfig {
    /// `EXTERNAL_MCP_AGENTS_SECRET`, a name or ARN. Default: `{AWS_STACK_NAME}/external-mcp-agents/credentials`.
    pub secret_id: String,
}

/// The addresses of MCP servers that may be reached, and the host of AgentCore's runtimes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct McpConfig {
    /// `ALLOW_PRIVATE_MCP_SERVERS`: the private networks that may be reached.
    pub policy: EgressPolicy,
    /// `AWS_ENDPOINT_URL_BEDROCK_AGENTCORE`: the URL to use for AgentCore's runtimes instead of AWS's own host.
    pub agentcore: Option<Url>,
}

/// The table and the key of the vault for tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionsConfig {
    /// `CONNECTIONS_TABLE`: a DynamoDB table.
    pub table: String,
    /// `CONNECTIONS_KEY`: the KMS key that the items of the table are sealed with.
    pub key: String,
}

/// The parts that all functions with MCP servers share.
#[derive(Clone)]
pub struct Backend {
    /// The source of agents: the secret.
    pub agents: Arc<dyn AgentSource>,
    /// Opens MCP sessions and holds the sign-ins.
    pub connector: Connector,
    catalog_table: Option<String>,
    cache: CacheLimits,
}

impl BackendConfig {
    /// Reads the configuration through `lookup`, for callers without further variables.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem found.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut vars = Vars::new(lookup);
        let config = Self::from_vars(&mut vars);
        vars.finish(config)
    }

    /// Reads the variables that the fields name.
    pub fn from_vars(vars: &mut Vars<'_>) -> Self {
        Self {
            secret: SecretConfig::from_vars(vars),
            mcp: McpConfig::from_vars(vars),
            connections: ConnectionsConfig::from_vars(vars),
            catalog_table: vars.optional("CATALOG_TABLE"),
            cache: CacheLimits {
                ttl: vars.seconds("TOOL_CACHE_TTL_SECONDS", Duration::from_secs(15 * 60)),
                discovery: vars.seconds("DISCOVERY_TIMEOUT_SECONDS", Duration::from_secs(8)),
            },
        }
    }
}

impl SecretConfig {
    /// Reads `EXTERNAL_MCP_AGENTS_SECRET` and `AWS_STACK_NAME` (`IDP` if it is not set).
    pub fn from_vars(vars: &Vars<'_>) -> Self {
        let of_stack = || {
            let stack = vars.optional("AWS_STACK_NAME").unwrap_or_else(|| "IDP".to_owned());
            format!("{stack}/external-mcp-agents/credentials")
        };
        Self { secret_id: vars.optional("EXTERNAL_MCP_AGENTS_SECRET").unwrap_or_else(of_stack) }
    }
}

impl McpConfig {
    /// Reads `ALLOW_PRIVATE_MCP_SERVERS` and `AWS_ENDPOINT_URL_BEDROCK_AGENTCORE`.
    pub fn from_vars(vars: &mut Vars<'_>) -> Self {
        Self {
            policy: vars.parsed("ALLOW_PRIVATE_MCP_SERVERS", EgressPolicy::default()),
            agentcore: vars.parsed_optional("AWS_ENDPOINT_URL_BEDROCK_AGENTCORE"),
        }
    }
}

impl ConnectionsConfig {
    /// Reads `CONNECTIONS_TABLE` and, if it is set, `CONNECTIONS_KEY`.
    pub fn from_vars(vars: &mut Vars<'_>) -> Option<Self> {
        let table = vars.optional("CONNECTIONS_TABLE")?;
        let key = vars.required("CONNECTIONS_KEY", "the KMS key that CONNECTIONS_TABLE is sealed with");
        Some(Self { table, key })
    }

    /// Returns the vault over the table.
    pub fn vault(&self, aws: &SdkConfig) -> Arc<dyn Vault> {
        let sealer = Sealer::new(aws_sdk_kms::Client::new(aws), self.key.clone());
        Arc::new(DynamoDbVault::new(aws_sdk_dynamodb::Client::new(aws), self.table.clone(), sealer))
    }
}

impl Backend {
    /// Builds all parts. `read_timeout` is the longest time without data within one response of a server.
    pub fn new(aws: &SdkConfig, config: &BackendConfig, read_timeout: Duration) -> Self {
        let client = aws_sdk_secretsmanager::Client::new(aws);
        let source = SecretsManager::new(client, config.secret.secret_id.clone());
        let vault: Arc<dyn Vault> = match &config.connections {
            Some(connections) => connections.vault(aws),
            None => Arc::new(ProcessVault::default()),
        };
        Self {
            agents: Arc::new(SecretAgents::new(Arc::new(source), config.mcp.agentcore.clone())),
            connector: connector(aws, config.mcp.policy.clone(), vault, read_timeout),
            catalog_table: config.catalog_table.clone(),
            cache: config.cache,
        }
    }

    /// Builds the catalog of the secret's agents. Tool lists are cached in the catalog table if there is one.
    pub fn catalog(&self, aws: &SdkConfig) -> Catalog {
        let table = self.catalog_table.clone();
        let snapshots = table.map(|table| SnapshotStore::new(aws_sdk_dynamodb::Client::new(aws), table));
        Catalog::new(Arc::clone(&self.agents), ToolCache::new(self.connector.clone(), snapshots, self.cache))
    }

    /// Waits until `until` at most for the token refreshes that are under way. Call it before the invocation ends: a
    /// refresh that is cut off by a freeze may lose its refresh token.
    pub async fn settled(&self, until: Instant) {
        if timeout_at(until, self.connector.sign_in().oauth().settled()).await.is_err() {
            tracing::error!(
                "External MCP: a token refresh was still under way when the invocation's time ended"
            );
        }
    }
}

/// Builds a connector. `read_timeout` is the longest time without data within one response of a server.
pub fn connector(
    aws: &SdkConfig,
    policy: EgressPolicy,
    vault: Arc<dyn Vault>,
    read_timeout: Duration,
) -> Connector {
    let http = HttpClient::new(policy, Deadlines { connect: CONNECT_TIMEOUT, read: read_timeout });
    let sign_in = SignIn::new(aws.clone(), OAuth::new(http.clone(), vault));
    Connector::new(http, sign_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_secret_is_named_after_the_stack() {
        let check = |vars: &[(&str, &str)], expected: &str| {
            let lookup = |name: &str| {
                vars.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(SecretConfig::from_vars(&Vars::new(&lookup)).secret_id, expected);
        };
        check(&[], "IDP/external-mcp-agents/credentials");
        check(&[("AWS_STACK_NAME", "docs")], "docs/external-mcp-agents/credentials");
        check(&[("AWS_STACK_NAME", "docs"), ("EXTERNAL_MCP_AGENTS_SECRET", "other")], "other");
    }
}
