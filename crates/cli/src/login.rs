//! `mcp-agents login`: a user signs in to a server from a terminal.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, anyhow};
use auth::{AuthConfig, ClientIdentity, OAuthError, Owner, Purpose, Registration};
use clap::Args;
use mcp::McpServer;
use secrecy::ExposeSecret;

use crate::{
    redirect::Listener,
    report::printable,
    setup::{CommonOptions, Setup},
};

/// How long a user may take: as long as the state is good.
const PATIENCE: Duration = Duration::from_secs(600);
/// Who starts sign-ins from here.
const STARTER: &str = "terminal";

/// Signs in to an agent's server: opens the authorization server's page and waits for the browser to come
/// back to this machine.
///
/// The tokens are everybody's who uses the same store, or with --user that user's alone.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// The agent's id, as `mcp-agents list` shows it.
    agent: String,
    #[command(flatten)]
    browser: BrowserOptions,
}

/// How the browser is sent and comes back.
#[derive(Debug, Clone, Args)]
pub(crate) struct BrowserOptions {
    /// Listen on this port of 127.0.0.1, as a registered client's redirect URI needs; else on any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The redirect URI exactly as registered, such as http://localhost:6545/oauth/callback.
    #[arg(long, value_name = "URL")]
    redirect_uri: Option<String>,
    /// The https URL of this client's metadata document, for servers that take one as client id.
    #[arg(long, value_name = "URL")]
    client_metadata_url: Option<String>,
    /// Print the address instead of opening a browser.
    #[arg(long)]
    no_browser: bool,
    /// Register a new client where one registered itself earlier.
    #[arg(long)]
    register_anew: bool,
}

impl BrowserOptions {
    /// Whether there is a document that a server may take as client id.
    pub(crate) fn has_metadata_document(&self) -> bool {
        self.client_metadata_url.is_some()
    }
}

/// Signs in.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let setup = Setup::new(&options.common).await?;
    let agent = setup.agent(&options.agent).await?;
    sign_in(&setup, &agent.id, &agent.server, &options.browser).await?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn sign_in(
    setup: &Setup,
    agent_id: &str,
    server: &McpServer,
    options: &BrowserOptions,
) -> anyhow::Result<()> {
    let AuthConfig::OAuth(config) = &server.auth else {
        return Err(anyhow!("{agent_id} is not signed in to with OAuth: there is nobody to send to a page"));
    };
    let oauth = setup.connector.sign_in().oauth();
    let listener = Listener::new(options.redirect_uri.as_deref(), options.port).await?;
    let identity = ClientIdentity {
        redirect_uri: listener.redirect_uri.clone(),
        metadata_url: options.client_metadata_url.clone(),
    };
    let owner = setup.user.clone().map_or(Owner::Everybody, Owner::User);
    let purpose = Purpose { agent_id, starter: STARTER, owner: &owner };
    let registration = if options.register_anew { Registration::Anew } else { Registration::Kept };
    let told = |error: OAuthError| told(server, &error);
    let starting = oauth.start(config, purpose, &identity, registration, runtime::now());
    let started = setup.within(starting).await?.map_err(told)?;
    let page = started.authorization_url.as_str();
    println!("Sign in here:\n\n  {}\n", printable(page));
    if !options.no_browser && open::that_detached(page).is_err() {
        println!("No browser could be opened: open the address by hand, on this machine.");
    }
    let state = started.state.expose_secret().to_owned();
    let redirect = tokio::time::timeout(PATIENCE, listener.wait(state.clone())).await;
    let redirect = redirect.context("nobody came back within ten minutes")??;
    oauth.callback(&redirect, runtime::now()).await.map_err(told)?;
    let arrival = oauth.arrival(&state, STARTER, runtime::now()).await.map_err(told)?;
    setup.within(oauth.complete(config, arrival, runtime::now())).await?.map_err(told)?;
    println!("Signed in to {}. The tokens are kept in {}.", printable(agent_id), setup.tokens);
    Ok(())
}

fn told(server: &McpServer, error: &OAuthError) -> anyhow::Error {
    let message = server.scrub(error.to_string());
    anyhow!("{message}\n  reason      {}\n  what to do  {}", error.kind(), error.remedy())
}
