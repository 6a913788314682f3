//! `mcp-agents add URL`: makes the entry of a server, so that no user edits JSON.
//!
//! Asks the server which sign-in it takes, asks the user for the fields that are missing, runs the checks of
//! `mcp-agents doctor` on the entry, and writes it only if they pass. Credentials come from files, standard input or a
//! question, never from the command line, and are never printed.

use std::process::ExitCode;

use anyhow::bail;
use auth::{AuthConfig, GrantType, OAuthConfig};
use clap::Args;
use mcp::McpError;
use runtime::plain_json;
use secret::{AuthType, ENTRY_FIELDS, EntryFields, ParsedEntry, edit_secret, with_entry};

use crate::{
    doctor,
    entry_fields::FieldFlags,
    login::{BrowserOptions, NotSignedIn, sign_in},
    progress::Progress,
    prompt,
    report::{EntryReport, print_text, printable},
    setup::{CommonOptions, Setup},
};

/// Adds an entry for a server: asks the server how it wants to be signed in to, and you for what is missing.
///
/// Exits with 1, and does not change the secret, if the entry does not work (see --force).
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// The MCP endpoint, or the ARN of an AgentCore runtime.
    url: String,
    #[command(flatten)]
    fields: FieldFlags,
    #[command(flatten)]
    browser: BrowserOptions,
    /// Do not send a user to sign in now; `mcp-agents login` does it later.
    #[arg(long)]
    no_login: bool,
    /// Write a valid entry even if its checks fail.
    #[arg(long)]
    force: bool,
}

impl Options {
    /// Returns the fields that the command line gives.
    fn given(&self) -> anyhow::Result<EntryFields> {
        let mut entry = EntryFields::default();
        entry.set(if self.url.starts_with("arn:") { "agent_runtime_arn" } else { "mcp_url" }, &self.url);
        self.fields.put_into(&mut entry)?;
        Ok(entry)
    }
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let setup = Setup::new(&options.common).await?;
    // Fails before the user is asked for anything if the secret cannot be read.
    setup.entries().await?;
    let mut entry = options.given()?;
    if !entry.contains("auth_type") {
        match probe(&setup, &mut entry).await {
            Ok(kind) => {
                let kind = if kind == "none" { none_or_oauth(&setup, &entry).await? } else { kind };
                entry.set("auth_type", kind);
            }
            Err(problem) if !options.force => {
                println!("{problem}\n\nNothing was written.");
                return Ok(ExitCode::FAILURE);
            }
            Err(problem) => println!("{problem}\n"),
        }
    }
    complete(&setup, &mut entry, &options).await?;
    name(&mut entry)?;
    let (mut parsed, mut report) = examine(&setup, &mut entry).await;
    if let Some(server) = parsed.server.as_ref().filter(|_| report.needs_sign_in() && !options.no_login) {
        let id = entry.text("agent_name").unwrap_or_default();
        if let Err(error) = sign_in(&setup, id, server, &options.browser).await {
            sign_in_with_client_registered_by_hand(&setup, &mut entry, &options.browser, error).await?;
        }
        (parsed, report) = examine(&setup, &mut entry).await;
    }
    print_text(&report);
    let is_later = report.needs_sign_in() && options.no_login;
    if parsed.server.is_none() || !(report.works() || is_later || options.force) {
        println!("\nNothing was written.");
        return Ok(ExitCode::FAILURE);
    }
    edit_secret(setup.secret.as_ref(), |text| with_entry(text, &entry)).await?;
    let agents = setup.agents().await?;
    let id = agents.last().map(|agent| agent.id.as_str()).unwrap_or_default();
    println!(
        "\nAdded. The agent is {}. Its entry:\n{}",
        printable(id),
        plain_json(&entry.masked().to_string())
    );
    if is_later {
        println!("A user must sign in: mcp-agents login {}", printable(id));
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks the entry as the doctor does. If the server may speak HTTP+SSE, checks it with that transport as well: a server
/// that wants a sign-in shows its transport only after the sign-in.
async fn examine(setup: &Setup, entry: &mut EntryFields) -> (ParsedEntry, EntryReport) {
    let parsed = parse(setup, entry);
    let report = doctor::examine(setup, &parsed).await;
    if entry.contains("transport") || !report.may_speak_other_transport() {
        return (parsed, report);
    }
    entry.set("transport", "sse");
    let other = parse(setup, entry);
    let other_report = doctor::examine(setup, &other).await;
    if other_report.works() || other_report.needs_sign_in() {
        return (other, other_report);
    }
    entry.remove("transport");
    (parsed, report)
}

/// Asks the server for its transport and sign-in, prints what was found, and returns the `auth_type`. An error is a
/// message for the user.
async fn probe(setup: &Setup, entry: &mut EntryFields) -> Result<&'static str, String> {
    // If a given field belongs to only one `auth_type`, that one is used; of several, the first.
    let of_a_sign_in = ENTRY_FIELDS.iter().filter(|field| entry.contains(field.name));
    let told = of_a_sign_in.filter_map(|field| field.auth_type).next().map(AuthType::name);
    let mut outcome = connect_without_credential(setup, entry).await?;
    let may_be_sse = outcome.as_ref().is_err_and(McpError::may_be_other_transport);
    if may_be_sse && !entry.contains("transport") {
        entry.set("transport", "sse");
        let over_sse = connect_without_credential(setup, entry).await?;
        match over_sse {
            Ok(()) | Err(McpError::Unauthorized) => outcome = over_sse,
            Err(_) => entry.remove("transport"),
        }
    }
    let transport = entry.text("transport").unwrap_or("streamable_http");
    match (told, outcome) {
        (Some(kind), _) => Ok(kind),
        (None, Ok(())) => {
            println!("The server speaks MCP over {transport} and asks for no sign-in.");
            Ok("none")
        }
        (None, Err(McpError::Unauthorized)) => {
            println!("The server asks for a sign-in.");
            Ok(how_to_sign_in(setup, entry).await)
        }
        (None, Err(error)) => {
            Err(format!("{error}\n  reason      {}\n  what to do  {}", error.kind(), error.remedy()))
        }
    }
}

/// Connects without a credential. The outer error is a message for the user: the entry is not valid.
async fn connect_without_credential(
    setup: &Setup,
    entry: &EntryFields,
) -> Result<Result<(), McpError>, String> {
    let of_the_server = ["mcp_url", "agent_runtime_arn", "region", "qualifier", "transport", "extra_headers"];
    let mut bare = entry.only(&of_the_server);
    bare.set("auth_type", "none");
    let parsed = parse(setup, &bare);
    let Some(server) = parsed.server else {
        let problems: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
        return Err(problems.join("\n"));
    };
    let _progress = Progress::new("asking the server how it is signed in to");
    let connecting = setup.connector.connect(&server, runtime::now());
    Ok(match tokio::time::timeout(setup.timeout, connecting).await {
        Err(_) => Err(McpError::Timeout { after: setup.timeout }),
        Ok(Err(error)) => Err(error),
        Ok(Ok((connection, _))) => {
            connection.close().await;
            Ok(())
        }
    })
}

/// Returns the `auth_type` of a server that refused a request without a credential.
async fn how_to_sign_in(setup: &Setup, entry: &EntryFields) -> &'static str {
    let Some(config) = oauth_config(setup, entry) else { return "api_key" };
    let progress = Progress::new("looking for its authorization server");
    let found = setup.within(setup.connector.sign_in().oauth().discover(&config)).await;
    drop(progress);
    match found.and_then(|found| Ok(found?)) {
        Ok(server) => {
            println!("Its authorization server is {}.", printable(&server.issuer));
            "oauth2"
        }
        Err(error) => {
            println!("No authorization server is found ({error}): the server may want a key.");
            "api_key"
        }
    }
}

/// Returns the `auth_type` of a server that lists its tools without a sign-in. If it names an authorization server, it may
/// want a sign-in for calls, and the user is asked.
async fn none_or_oauth(setup: &Setup, entry: &EntryFields) -> anyhow::Result<&'static str> {
    let Some(config) = oauth_config(setup, entry) else { return Ok("none") };
    let asking = setup.connector.sign_in().oauth().named_by_server(&config);
    let progress = Progress::new("looking for an authorization server");
    let named = setup.within(asking).await.unwrap_or_default();
    drop(progress);
    let Some(issuer) = named.into_iter().next() else {
        return Ok("none");
    };
    let issuer = printable(&issuer);
    println!(
        "But it names an authorization server, {issuer}: it may ask for a sign-in when a tool is called."
    );
    match prompt::line("auth_type, oauth2 or none")?.as_deref() {
        Some("oauth2") => Ok("oauth2"),
        Some("none") => Ok("none"),
        _ => bail!(
            "whether its tools need a sign-in must be said: give --auth-type oauth2 to sign in with {issuer}, \
             or --auth-type none to call them without; nothing was written"
        ),
    }
}

/// Signs in again after `error`, if that says that a client must be registered by hand: asks the user for the client.
async fn sign_in_with_client_registered_by_hand(
    setup: &Setup,
    entry: &mut EntryFields,
    options: &BrowserOptions,
    error: anyhow::Error,
) -> anyhow::Result<()> {
    let needed = error.downcast_ref::<NotSignedIn>().and_then(|error| error.redirect_uri_to_register.clone());
    let Some(redirect_uri) = needed.filter(|_| prompt::is_at_terminal()) else { return Err(error) };
    println!("{error}\n");
    println!("Register a client there with the redirect URI {redirect_uri}, then give its id.");
    if !ask_for_client(entry)? {
        return Err(error);
    }
    let parsed = parse(setup, entry);
    let Some(server) = &parsed.server else { return Err(error) };
    let id = entry.text("agent_name").unwrap_or_default();
    sign_in(setup, id, server, &options.with_redirect_uri(redirect_uri)).await
}

/// Asks for a client's id, and its secret if it has one. Returns false if the user gave no id.
fn ask_for_client(entry: &mut EntryFields) -> anyhow::Result<bool> {
    let Some(id) = prompt::line("Client id")? else { return Ok(false) };
    entry.set("client_id", id);
    if !entry.contains("client_secret")
        && !entry.contains("private_key")
        && let Some(secret) = prompt::optional_secret("Its secret, empty if it has none")?
    {
        entry.set_secret("client_secret", secret);
    }
    Ok(true)
}

/// Asks for the fields that the sign-in requires and that are missing.
async fn complete(setup: &Setup, entry: &mut EntryFields, options: &Options) -> anyhow::Result<()> {
    match entry.text("auth_type").and_then(AuthType::named) {
        Some(AuthType::ApiKey) if !entry.contains("credentials") => {
            entry.set_secret("credentials", prompt::secret(None, "The key", "--credentials-file")?);
        }
        Some(AuthType::Cognito) => ask_for_cognito_user(entry)?,
        Some(AuthType::OAuth2) if needs_client_secret(entry) => {
            let secret = prompt::secret(None, "The client's secret", "--client-secret-file")?;
            entry.set_secret("client_secret", secret);
        }
        Some(AuthType::OAuth2) if !entry.contains("client_id") => {
            ask_for_client_registered_by_hand(setup, entry, options).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Asks for the fields of a sign-in with Cognito that are missing.
fn ask_for_cognito_user(entry: &mut EntryFields) -> anyhow::Result<()> {
    for (field, what) in COGNITO {
        if !entry.contains(field)
            && let Some(answer) = prompt::line(what)?
        {
            entry.set(field, answer);
        }
    }
    if !entry.contains("cognito_password") {
        let password = prompt::secret(None, "The password", "--cognito-password-file")?;
        entry.set_secret("cognito_password", password);
    }
    Ok(())
}

/// Asks for a client if the authorization server lets no client register itself.
async fn ask_for_client_registered_by_hand(
    setup: &Setup,
    entry: &mut EntryFields,
    options: &Options,
) -> anyhow::Result<()> {
    let Some(config) = oauth_config(setup, entry) else { return Ok(()) };
    let found = setup.within(setup.connector.sign_in().oauth().discover(&config)).await?;
    let Ok(server) = found else { return Ok(()) };
    let has_document = server.takes_client_metadata_documents && options.browser.has_metadata_document();
    let registers = server.registration_endpoint.is_some() || has_document;
    if server.grant == GrantType::AuthorizationCode && registers {
        return Ok(());
    }
    println!(
        "The authorization server lets no client register itself: register one there, then give its id."
    );
    if !ask_for_client(entry)? {
        bail!("a client id is needed: give --client-id, and --client-secret-file if it has a secret")
    }
    Ok(())
}

/// The fields that the user is asked for one by one, with the question.
const COGNITO: [(&str, &str); 3] = [
    ("cognito_user_pool_id", "The user pool's id"),
    ("cognito_client_id", "The app client's id"),
    ("cognito_username", "The service user's name"),
];

/// Returns true if the client is to sign in for itself and has neither a secret nor a key.
fn needs_client_secret(entry: &EntryFields) -> bool {
    let has_proof = entry.contains("client_secret") || entry.contains("private_key");
    entry.text("grant_type") == Some("client_credentials") && entry.text("client_id").is_some() && !has_proof
}

/// Asks for the agent's name. Default: the host of the URL.
fn name(entry: &mut EntryFields) -> anyhow::Result<()> {
    if entry.contains("agent_name") {
        return Ok(());
    }
    let url = entry.text("mcp_url").and_then(|url| url::Url::parse(url).ok());
    let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or("AgentCore").to_owned();
    let name = prompt::line(&format!("The agent's name [{host}]"))?.unwrap_or(host);
    entry.set("agent_name", name);
    Ok(())
}

fn parse(setup: &Setup, entry: &EntryFields) -> ParsedEntry {
    setup.parse(&[Some(entry.clone())]).remove(0)
}

/// Returns the configuration of a sign-in with OAuth; `None` if the entry is not valid with `auth_type: oauth2`.
fn oauth_config(setup: &Setup, entry: &EntryFields) -> Option<Box<OAuthConfig>> {
    let mut entry = entry.clone();
    entry.set("auth_type", "oauth2");
    match parse(setup, &entry).server?.auth {
        AuthConfig::OAuth(config) => Some(config),
        _ => None,
    }
}
