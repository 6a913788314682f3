//! What every command needs: the source of the entries, the token store, and the connector to MCP servers.

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context, anyhow};
use auth::User;
use aws_config::SdkConfig;
use backend::{ConnectionsConfig, McpConfig, SecretConfig};
use catalog::Agent;
use clap::Args;
use egress::EgressPolicy;
use mcp::Connector;
use runtime::Vars;
use secret::{
    EntryFields, ParsedEntry, SecretError, SecretFile, SecretStore, SecretsManager, agents_of, parse_entries,
    parse_secret,
};
use url::Url;
use vault::{FileVault, Vault};

/// The options that all commands share.
#[derive(Debug, Clone, Args)]
pub(crate) struct CommonOptions {
    /// Read the entries from this file instead of the secret in AWS.
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
    /// Private addresses that servers may have: `true`, or CIDRs; as ALLOW_PRIVATE_MCP_SERVERS.
    #[arg(long, value_name = "POLICY")]
    allow_private: Option<EgressPolicy>,
    /// Keep tokens in this file instead of the user's own one; not used where CONNECTIONS_TABLE is set.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// Act for this user of the backend instead of for everybody.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// How many seconds each step may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
}

/// What a command works with.
pub(crate) struct Setup {
    pub(crate) aws: SdkConfig,
    pub(crate) secret: Arc<dyn SecretStore>,
    pub(crate) connector: Connector,
    pub(crate) agentcore: Option<Url>,
    pub(crate) user: Option<User>,
    pub(crate) timeout: Duration,
    /// The place where tokens are stored, for messages.
    pub(crate) tokens: String,
}

impl Setup {
    /// Reads options and environment. The longest pause within an answer of a server is the time limit of a step.
    pub(crate) async fn new(options: &CommonOptions) -> anyhow::Result<Self> {
        Self::with_pauses(options, Duration::from_secs(options.timeout)).await
    }

    /// Reads options and environment. `pause` is the longest pause within an answer of a server.
    pub(crate) async fn with_pauses(options: &CommonOptions, pause: Duration) -> anyhow::Result<Self> {
        let aws = runtime::aws_config().await;
        let mut vars = Vars::new(&runtime::environment);
        let secret = SecretConfig::from_vars(&vars);
        let mcp = McpConfig::from_vars(&mut vars);
        let connections = ConnectionsConfig::from_vars(&mut vars);
        let home = vars.optional("XDG_CONFIG_HOME").map(PathBuf::from);
        let home = home.or_else(|| Some(PathBuf::from(vars.optional("HOME")?).join(".config")));
        let (mcp, connections) = vars.finish((mcp, connections))?;
        let (store, tokens) = token_store(&aws, options.tokens.clone(), connections, home)?;
        let timeout = Duration::from_secs(options.timeout);
        let policy = options.allow_private.clone().unwrap_or(mcp.policy);
        Ok(Self {
            secret: match &options.secret {
                Some(path) => Arc::new(SecretFile::new(path.clone())),
                None => {
                    let client = aws_sdk_secretsmanager::Client::new(&aws);
                    Arc::new(SecretsManager::new(client, secret.secret_id))
                }
            },
            connector: backend::connector(&aws, policy, store, pause),
            agentcore: mcp.agentcore,
            user: options.user.clone().map(User::named),
            timeout,
            tokens,
            aws,
        })
    }

    /// Returns the result of a step, or an error if the step exceeds its time limit.
    pub(crate) async fn within<T>(&self, step: impl Future<Output = T>) -> anyhow::Result<T> {
        let late = || anyhow!("no answer within {} s", self.timeout.as_secs());
        tokio::time::timeout(self.timeout, step).await.map_err(|_| late())
    }

    /// Reads the entries of the secret, with the sign-ins of the user.
    pub(crate) async fn entries(&self) -> Result<Vec<ParsedEntry>, SecretError> {
        Ok(self.parse(&parse_secret(&self.secret.read().await?)?))
    }

    /// Validates entries, and has their servers use the sign-ins of the user.
    pub(crate) fn parse(&self, entries: &[Option<EntryFields>]) -> Vec<ParsedEntry> {
        let mut parsed = parse_entries(entries, self.agentcore.as_ref());
        if let Some(user) = &self.user {
            let servers = parsed.iter_mut().filter_map(|entry| entry.server.as_mut());
            servers.for_each(|server| *server = server.on_behalf_of(user));
        }
        parsed
    }

    /// Returns the agents of the entries, with the sign-ins of the user.
    pub(crate) async fn agents(&self) -> anyhow::Result<Vec<Agent>> {
        Ok(agents_of(self.entries().await.context("the entries cannot be read")?))
    }

    /// Returns the agent with this id, or an error that names the known ids.
    pub(crate) async fn agent(&self, id: &str) -> anyhow::Result<Agent> {
        let agents = self.agents().await?;
        let known: Vec<&str> = agents.iter().map(|agent| agent.id.as_str()).collect();
        let missing = match known.as_slice() {
            [] => anyhow!("there is no agent {id}, and no other: `mcp-agents add URL` makes one"),
            known => anyhow!("there is no agent {id}: known are {}", known.join(", ")),
        };
        agents.iter().find(|agent| agent.id == id).cloned().ok_or(missing)
    }
}

fn token_store(
    aws: &SdkConfig,
    file: Option<PathBuf>,
    connections: Option<ConnectionsConfig>,
    home: Option<PathBuf>,
) -> anyhow::Result<(Arc<dyn Vault>, String)> {
    if let Some(connections) = connections {
        let words = format!("the table {}", connections.table);
        return Ok((connections.vault(aws), words));
    }
    let path = match (file, home) {
        (Some(path), _) => path,
        (None, Some(home)) => home.join("mcp-agents").join("tokens.json"),
        (None, None) => return Err(anyhow!("neither HOME nor XDG_CONFIG_HOME is set: give --tokens FILE")),
    };
    let words = path.display().to_string();
    Ok((Arc::new(FileVault::new(path, runtime::now())), words))
}
