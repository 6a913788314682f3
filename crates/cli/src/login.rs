//! `mcp-agents login`: signs a user in to a server from a terminal, over a redirect to a loopback address (RFC 8252 §7.3).

use std::{convert::Infallible, process::ExitCode, time::Duration};

use anyhow::{Context, anyhow};
use auth::{AuthConfig, ClientIdentity, OAuthError, Owner, Purpose, Registration, User};
use clap::Args;
use mcp::McpServer;
use secrecy::ExposeSecret;

use crate::{
    progress::Progress,
    redirect::Listener,
    report::printable,
    setup::{CommonOptions, Setup},
};

/// Time limit for the user to sign in, in seconds. The state parameter is valid for as long.
const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(600);
/// Time after which a message tells the user what this command waits for, in seconds.
const REMIND_AFTER: Duration = Duration::from_secs(20);
/// The user name that sign-ins from a terminal are started under.
const STARTER: &str = "terminal";

/// Signs in to an agent's server: opens the authorization server's page and waits for the browser to come
/// back to this machine.
///
/// All users of the same token store share the tokens. With --user they belong to that user alone.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// The agent's id, as `mcp-agents list` shows it.
    agent: String,
    #[command(flatten)]
    browser: BrowserOptions,
}

/// Options of the browser and of the redirect back to this machine.
#[derive(Debug, Clone, Args)]
pub(crate) struct BrowserOptions {
    /// Listen on this port of 127.0.0.1, for a client that is registered with that redirect URI. 0 is any free port.
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

/// A failed sign-in, with a message for the user.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct NotSignedIn {
    message: String,
    /// The redirect URI to register a client with, if the authorization server needs a client registered by hand.
    pub(crate) redirect_uri_to_register: Option<String>,
}

impl NotSignedIn {
    fn new(server: &McpServer, options: &BrowserOptions, error: &OAuthError) -> Self {
        let redirect_uri_to_register = match error.bare() {
            OAuthError::ClientNeeded { redirect_uri, .. } => Some(redirect_uri.clone()),
            _ => None,
        };
        let error_text = server.scrub(error.to_string());
        let mut message =
            format!("{error_text}\n  reason      {}\n  what to do  {}", error.kind(), error.remedy());
        if let Some(uri) = redirect_uri_to_register.as_ref().filter(|_| options.is_on_any_port()) {
            message.push_str(&format!(
                "; sign in with --redirect-uri {uri}, since any other run takes another port"
            ));
        }
        Self { message, redirect_uri_to_register }
    }
}

impl BrowserOptions {
    /// Returns these options with the redirect URI that a client was registered with.
    pub(crate) fn with_redirect_uri(&self, uri: String) -> Self {
        Self { redirect_uri: Some(uri), ..self.clone() }
    }

    fn is_on_any_port(&self) -> bool {
        self.redirect_uri.is_none() && self.port == 0
    }

    /// Returns true if there is a metadata document whose URL can serve as client id.
    pub(crate) fn has_metadata_document(&self) -> bool {
        self.client_metadata_url.is_some()
    }
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let setup = Setup::new(&options.common).await?;
    let agent = setup.agent(&options.agent).await?;
    sign_in(&setup, &agent.id, &agent.server, &options.browser).await?;
    Ok(ExitCode::SUCCESS)
}

/// Signs a user in to the agent's server, and waits until the tokens are stored.
///
/// # Errors
/// [`NotSignedIn`] if the authorization server refuses; others if this machine cannot listen or the user does not come
/// back.
pub(crate) async fn sign_in(
    setup: &Setup,
    agent_id: &str,
    server: &McpServer,
    options: &BrowserOptions,
) -> anyhow::Result<()> {
    let AuthConfig::OAuth(config) = &server.auth else {
        return Err(anyhow!("{agent_id} is not signed in to with OAuth: its entry needs no login"));
    };
    let oauth = setup.connector.sign_in().oauth();
    let listener = Listener::new(options.redirect_uri.as_deref(), options.port).await?;
    let identity = ClientIdentity {
        redirect_uri: listener.redirect_uri.clone(),
        metadata_url: options.client_metadata_url.clone(),
        serves_many: false,
    };
    let owner = setup.user.clone().map_or(Owner::Everybody, Owner::User);
    let starter = User::named(STARTER);
    let purpose = Purpose { agent_id, starter: &starter, owner: &owner, origin: None };
    let registration = if options.register_anew { Registration::Anew } else { Registration::Kept };
    let not_signed_in = |error: OAuthError| NotSignedIn::new(server, options, &error);
    let starting = oauth.start(config, purpose, &identity, registration, runtime::now());
    let started = setup.within(starting).await?.map_err(not_signed_in)?;
    let page = started.authorization_url.as_str();
    println!("Sign in here:\n\n  {}\n", printable(page));
    if !options.no_browser && open::that_detached(page).is_err() {
        println!("No browser could be opened: open the address by hand, on this machine.");
    }
    let state = started.state.expose_secret().to_owned();
    let waiting = tokio::time::timeout(SIGN_IN_TIMEOUT, listener.wait(state.clone()));
    let host = started.authorization_url.host_str();
    let progress = Progress::new(&format!(
        "waiting for a browser to come back from {}",
        host.unwrap_or("the authorization server")
    ));
    let reminder = remind(host, &identity.redirect_uri, &progress);
    let redirect = tokio::select! {
        redirect = waiting => redirect,
        never = reminder => match never {},
    };
    let redirect = redirect.context(
        "no browser came back within ten minutes: run the command again, and sign in on its page",
    )??;
    progress.step("exchanging the code for tokens");
    oauth.callback(&redirect, runtime::now()).await.map_err(|refused| not_signed_in(refused.error))?;
    let arrival = oauth.arrival(&state, &starter, runtime::now()).await.map_err(not_signed_in)?;
    setup.within(oauth.complete(config, arrival, runtime::now())).await?.map_err(not_signed_in)?;
    drop(progress);
    println!("Signed in to {}. The tokens are kept in {}.", printable(agent_id), setup.tokens);
    Ok(())
}

/// Prints what this command waits for once the user takes long. Never returns.
async fn remind(host: Option<&str>, redirect_uri: &str, progress: &Progress) -> Infallible {
    tokio::time::sleep(REMIND_AFTER).await;
    let host = printable(host.unwrap_or("the authorization server"));
    progress.say(&format!(
        "Still waiting for a browser to come back from {host} to {redirect_uri}, for up to ten minutes in all.\n\
         Open the address above on this machine and sign in there; Ctrl-C ends the wait."
    ));
    std::future::pending().await
}
