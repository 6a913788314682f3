//! The composition that every binary is made of: its configuration, the sign-ins, the connector, the catalog.
//!
//! Called once, at cold start. Decides nothing at run time.

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

/// From the start until TCP and TLS to an MCP server or an authorization server are up.
const CONNECT: Duration = Duration::from_secs(3);

/// What every function is configured with that speaks to MCP servers.
#[derive(Debug, Clone)]
pub struct BackendConfig {
    /// Where the entries are.
    pub secret: SecretConfig,
    /// Which servers may be reached.
    pub mcp: McpConfig,
    /// `CONNECTIONS_TABLE` and `CONNECTIONS_KEY`: what was signed in for.
    pub connections: Option<ConnectionsConfig>,
    /// `CATALOG_TABLE`: what is known of the servers' tools.
    pub catalog_table: Option<String>,
    /// `TOOL_CACHE_TTL_SECONDS`, `DISCOVERY_TIMEOUT_SECONDS`.
    pub cache: CacheLimits,
}

/// Which secret lists the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretConfig {
    /// `EXTERNAL_MCP_AGENTS_SECRET`, a name or ARN, else `{AWS_STACK_NAME}/external-mcp-agents/credentials`.
    pub secret_id: String,
}

/// Which MCP servers may be reached, and where AgentCore's are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct McpConfig {
    /// `ALLOW_PRIVATE_MCP_SERVERS`.
    pub policy: EgressPolicy,
    /// `AWS_ENDPOINT_URL_BEDROCK_AGENTCORE`: another host for AgentCore's runtimes than AWS's own.
    pub agentcore: Option<Url>,
}

/// Where what was signed in for is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionsConfig {
    /// `CONNECTIONS_TABLE`: a DynamoDB table.
    pub table: String,
    /// `CONNECTIONS_KEY`: the KMS key that its items are sealed with.
    pub key: String,
}

/// What every function is made of that speaks to MCP servers.
#[derive(Clone)]
pub struct Backend {
    /// The source of agents: the secret.
    pub agents: Arc<dyn AgentSource>,
    /// What connections are made with.
    pub connector: Connector,
    catalog_table: Option<String>,
    cache: CacheLimits,
}

impl BackendConfig {
    /// Reads it alone.
    ///
    /// # Errors
    /// [`ConfigError`] with every problem found.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut vars = Vars::new(lookup);
        let config = Self::from_vars(&mut vars);
        vars.finish(config)
    }

    /// Reads what its fields name.
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
    /// Reads `CONNECTIONS_TABLE` and, if there is one, `CONNECTIONS_KEY`.
    pub fn from_vars(vars: &mut Vars<'_>) -> Option<Self> {
        let table = vars.optional("CONNECTIONS_TABLE")?;
        let key = vars.required("CONNECTIONS_KEY", "the KMS key that CONNECTIONS_TABLE is sealed with");
        Some(Self { table, key })
    }

    /// The table as a store of tokens.
    pub fn store(&self, aws: &SdkConfig) -> Arc<dyn Vault> {
        let sealer = Sealer::new(aws_sdk_kms::Client::new(aws), self.key.clone());
        Arc::new(DynamoDbVault::new(aws_sdk_dynamodb::Client::new(aws), self.table.clone(), sealer))
    }
}

impl Backend {
    /// Makes everything; `read` is the longest silence within one answer of a server.
    pub fn new(aws: &SdkConfig, config: &BackendConfig, read: Duration) -> Self {
        let client = aws_sdk_secretsmanager::Client::new(aws);
        let source = SecretsManager::new(client, config.secret.secret_id.clone());
        let store: Arc<dyn Vault> = match &config.connections {
            Some(connections) => connections.store(aws),
            None => Arc::new(ProcessVault::default()),
        };
        Self {
            agents: Arc::new(SecretAgents::new(Arc::new(source), config.mcp.agentcore.clone())),
            connector: connector(aws, config.mcp.policy.clone(), store, read),
            catalog_table: config.catalog_table.clone(),
            cache: config.cache,
        }
    }

    /// The catalog of the entries, its tools remembered in the catalog table if there is one.
    pub fn catalog(&self, aws: &SdkConfig) -> Catalog {
        let table = self.catalog_table.clone();
        let snapshots = table.map(|table| SnapshotStore::new(aws_sdk_dynamodb::Client::new(aws), table));
        Catalog::new(Arc::clone(&self.agents), ToolCache::new(self.connector.clone(), snapshots, self.cache))
    }

    /// Waits for what must be seen through before the process may be frozen, but not past `until`.
    pub async fn settled(&self, until: Instant) {
        if timeout_at(until, self.connector.sign_in().oauth().settled()).await.is_err() {
            tracing::error!("External MCP: a token refresh was still under way when the time was up");
        }
    }
}

/// What connections to MCP servers are made with; `read` is the longest silence within one answer.
pub fn connector(aws: &SdkConfig, policy: EgressPolicy, store: Arc<dyn Vault>, read: Duration) -> Connector {
    let http = HttpClient::new(policy, Deadlines { connect: CONNECT, read });
    let sign_in = SignIn::new(aws.clone(), OAuth::new(http.clone(), store));
    Connector::new(http, sign_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_the_stacks_unless_one_is_named() {
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
