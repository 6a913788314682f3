//! `mcp-agents login`: a user signs in to a server from a terminal.

use std::{convert::Infallible, process::ExitCode, time::Duration};

use anyhow::{Context, anyhow};
use auth::{AuthConfig, ClientIdentity, OAuthError, Owner, Purpose, RegistrationChoice, User};
use clap::Args;
use mcp::McpServer;
use secrecy::ExposeSecret;

use crate::{
    progress::Progress,
    redirect::Listener,
    report::printable,
    setup::{CommonOptions, Setup},
};

/// How long a user may take: as long as the state is good.
const PATIENCE: Duration = Duration::from_secs(600);
/// When a user is told what is waited for.
const TOLD_AFTER: Duration = Duration::from_secs(20);
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

/// Why a sign-in did not succeed, in words for whoever signs in.
#[derive(Debug, thiserror::Error)]
#[error("{words}")]
pub(crate) struct NotSignedIn {
    words: String,
    /// Where a client must be registered with the authorization server by hand: the redirect URI for it.
    pub(crate) client_needed_with: Option<String>,
}

impl NotSignedIn {
    fn new(server: &McpServer, options: &BrowserOptions, error: &OAuthError) -> Self {
        let client_needed_with = match error.innermost() {
            OAuthError::ClientNeeded { redirect_uri, .. } => Some(redirect_uri.clone()),
            _ => None,
        };
        let message = server.scrub(error.to_string());
        let mut words =
            format!("{message}\n  reason      {}\n  what to do  {}", error.kind(), error.remedy());
        if let Some(uri) = client_needed_with.as_ref().filter(|_| options.is_on_any_port()) {
            words.push_str(&format!(
                "; sign in with --redirect-uri {uri}, since any other run takes another port"
            ));
        }
        Self { words, client_needed_with }
    }
}

impl BrowserOptions {
    /// The same, with the redirect URI that a client was registered with.
    pub(crate) fn with_redirect_uri(&self, uri: String) -> Self {
        Self { redirect_uri: Some(uri), ..self.clone() }
    }

    fn is_on_any_port(&self) -> bool {
        self.redirect_uri.is_none() && self.port == 0
    }

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
        redirect_uri_per_issuer: false,
    };
    let owner = setup.user.clone().map_or(Owner::Everybody, Owner::User);
    let starter = User::named(STARTER);
    let purpose = Purpose { agent_id, starter: &starter, owner: &owner, origin: None };
    let registration =
        if options.register_anew { RegistrationChoice::New } else { RegistrationChoice::Stored };
    let told = |error: OAuthError| NotSignedIn::new(server, options, &error);
    let starting = oauth.start(config, purpose, &identity, registration, runtime::now());
    let started = setup.within(starting).await?.map_err(told)?;
    let page = started.authorization_url.as_str();
    println!("Sign in here:\n\n  {}\n", printable(page));
    if !options.no_browser && open::that_detached(page).is_err() {
        println!("No browser could be opened: open the address by hand, on this machine.");
    }
    let state = started.state.expose_secret().to_owned();
    let waiting = tokio::time::timeout(PATIENCE, listener.wait(state.clone()));
    let host = started.authorization_url.host_str();
    let progress = Progress::new(&format!(
        "waiting for a browser to come back from {}",
        host.unwrap_or("the authorization server")
    ));
    let telling = tell_what_is_waited_for(host, &identity.redirect_uri, &progress);
    let redirect = tokio::select! {
        redirect = waiting => redirect,
        never = telling => match never {},
    };
    let redirect = redirect.context("nobody came back within ten minutes")??;
    progress.step("exchanging the code for tokens");
    oauth.callback(&redirect, runtime::now()).await.map_err(told)?;
    let ready = oauth.ready_sign_in(&state, &starter, runtime::now()).await.map_err(told)?;
    setup.within(oauth.complete(config, ready, runtime::now())).await?.map_err(told)?;
    drop(progress);
    println!("Signed in to {}. The tokens are kept in {}.", printable(agent_id), setup.tokens);
    Ok(())
}

/// Tells a user who takes long what is waited for, and goes on waiting.
async fn tell_what_is_waited_for(host: Option<&str>, redirect_uri: &str, progress: &Progress) -> Infallible {
    tokio::time::sleep(TOLD_AFTER).await;
    let host = printable(host.unwrap_or("the authorization server"));
    progress.say(&format!(
        "Still waiting for a browser to come back from {host} to {redirect_uri}, for up to ten minutes in all.\n\
         Open the address above on this machine and sign in there; Ctrl-C ends the wait."
    ));
    std::future::pending().await
}
