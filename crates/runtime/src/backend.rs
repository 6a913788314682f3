//! What every binary that speaks to MCP servers is configured with and made of.

use std::{sync::Arc, time::Duration};

use auth::SignIn;
use aws_config::SdkConfig;
use catalog::{Catalog, Entries, SecretsManager};
use egress::{Deadlines, EgressPolicy, HttpClient};
use mcp::{CacheLimits, Connector, SnapshotStore, ToolCache};

use crate::config::Vars;

/// From the start until TCP and TLS to an MCP server are up.
const CONNECT: Duration = Duration::from_secs(3);

/// Which secret lists the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretConfig {
    /// `EXTERNAL_MCP_AGENTS_SECRET`, a name or ARN, else `{AWS_STACK_NAME}/external-mcp-agents/credentials`.
    pub secret_id: String,
}

/// Which MCP servers may be reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct McpConfig {
    /// `ALLOW_PRIVATE_MCP_SERVERS`.
    pub policy: EgressPolicy,
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
    /// Reads `ALLOW_PRIVATE_MCP_SERVERS`.
    pub fn from_vars(vars: &mut Vars<'_>) -> Self {
        Self { policy: vars.parsed("ALLOW_PRIVATE_MCP_SERVERS", EgressPolicy::default()) }
    }
}

/// Reads `TOOL_CACHE_TTL_SECONDS` (15 minutes) and `DISCOVERY_TIMEOUT_SECONDS` (8).
pub fn cache_limits(vars: &mut Vars<'_>) -> CacheLimits {
    CacheLimits {
        ttl: vars.seconds("TOOL_CACHE_TTL_SECONDS", Duration::from_secs(15 * 60)),
        discovery: vars.seconds("DISCOVERY_TIMEOUT_SECONDS", Duration::from_secs(8)),
    }
}

/// The catalog of `entries`, its tools remembered in `table` if there is one.
pub fn catalog(
    aws: &SdkConfig,
    entries: Entries,
    connector: Connector,
    table: Option<&str>,
    limits: CacheLimits,
) -> Catalog {
    let snapshots =
        table.map(|table| SnapshotStore::new(aws_sdk_dynamodb::Client::new(aws), table.to_owned()));
    Catalog::new(entries, ToolCache::new(connector, snapshots, limits))
}

/// The entries of the secret in Secrets Manager.
pub fn entries(aws: &SdkConfig, secret: &SecretConfig) -> Entries {
    let client = aws_sdk_secretsmanager::Client::new(aws);
    Entries::new(Arc::new(SecretsManager::new(client, secret.secret_id.clone())))
}

/// What connections to MCP servers are made with; `read` is the longest silence within one answer.
pub fn connector(aws: &SdkConfig, mcp: &McpConfig, read: Duration) -> Connector {
    let http = HttpClient::new(mcp.policy.clone(), Deadlines { connect: CONNECT, read });
    Connector::new(http, SignIn::new(aws.clone()))
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
