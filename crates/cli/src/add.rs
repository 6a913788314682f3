//! `mcp-agents add URL`: makes an entry for a server without anybody editing JSON.
//!
//! Asks the server how it wants to be signed in to, asks the user for what is missing, runs the doctor over
//! the entry, and writes it only if that is content. Credentials come from files, standard input or a
//! question, never from the command line, and are never printed.

use std::process::ExitCode;

use anyhow::bail;
use auth::{AuthConfig, GrantType, OAuthConfig};
use clap::Args;
use mcp::McpError;
use secrecy::ExposeSecret;
use secret::{ParsedEntry, edit_secret, with_entry};
use serde_json::{Map, Value};

use crate::{
    doctor,
    entry_fields::Fields,
    login::{BrowserOptions, NotSignedIn, sign_in},
    progress::Progress,
    prompt,
    report::{EntryReport, print_text, printable},
    setup::{CommonOptions, Setup},
};

/// Adds an entry for a server: asks the server how it wants to be signed in to, and you for what is missing.
///
/// Exits with 1, and writes nothing, if the entry does not work (see --force).
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// The MCP endpoint, or the ARN of an AgentCore runtime.
    url: String,
    /// The agent's name.
    #[arg(long)]
    name: Option<String>,
    /// What the agent is for.
    #[arg(long)]
    description: Option<String>,
    /// none, cognito, api_key or oauth2, instead of asking the server.
    #[arg(long, value_name = "TYPE")]
    auth_type: Option<String>,
    /// streamable_http or sse, instead of trying both.
    #[arg(long, value_name = "KIND")]
    transport: Option<String>,
    #[command(flatten)]
    fields: Fields,
    #[command(flatten)]
    browser: BrowserOptions,
    /// Do not send a user to sign in now; `mcp-agents login` does it later.
    #[arg(long)]
    no_login: bool,
    /// Write the entry even if it does not work.
    #[arg(long)]
    force: bool,
}

impl Options {
    /// What the flags say.
    fn given(&self) -> anyhow::Result<Map<String, Value>> {
        let mut entry = Map::new();
        let at = if self.url.starts_with("arn:") { "agent_runtime_arn" } else { "mcp_url" };
        let texts = [
            (at, Some(&self.url)),
            ("agent_name", self.name.as_ref()),
            ("agent_description", self.description.as_ref()),
            ("auth_type", self.auth_type.as_ref()),
            ("transport", self.transport.as_ref()),
        ];
        entry.extend(
            texts.into_iter().filter_map(|(field, text)| Some((field.to_owned(), text?.as_str().into()))),
        );
        self.fields.put_into(&mut entry)?;
        Ok(entry)
    }
}

/// Adds an entry.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let setup = Setup::new(&options.common).await?;
    // Before anybody is asked anything: whether there is a secret to write.
    setup.entries().await?;
    let mut entry = options.given()?;
    if !entry.contains_key("auth_type") {
        match probe(&setup, &mut entry).await {
            Ok(kind) => {
                let kind = if kind == "none" { none_or_oauth(&setup, &entry).await? } else { kind };
                entry.insert("auth_type".to_owned(), kind.into());
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
        let id = entry["agent_name"].as_str().unwrap_or_default();
        if let Err(error) = sign_in(&setup, id, server, &options.browser).await {
            sign_in_as_a_registered_client(&setup, &mut entry, &options.browser, error).await?;
        }
        (parsed, report) = examine(&setup, &mut entry).await;
    }
    print_text(&report);
    let is_later = report.needs_sign_in() && options.no_login;
    if parsed.server.is_none() || !(report.works() || is_later || options.force) {
        println!("\nNothing was written.");
        return Ok(ExitCode::FAILURE);
    }
    let entry = Value::Object(entry);
    edit_secret(setup.secret.as_ref(), |text| with_entry(text, &entry)).await?;
    let agents = setup.agents().await?;
    let id = agents.last().map(|agent| agent.id.as_str()).unwrap_or_default();
    println!("\nAdded. The agent is {}.", printable(id));
    if is_later {
        println!("A user must sign in: mcp-agents login {}", printable(id));
    }
    Ok(ExitCode::SUCCESS)
}

/// Examines the entry; once more over HTTP+SSE where the server may speak that, which a server that wants a
/// sign-in does not say before it has one.
async fn examine(setup: &Setup, entry: &mut Map<String, Value>) -> (ParsedEntry, EntryReport) {
    let parsed = parse(setup, entry);
    let report = doctor::examine(setup, &parsed).await;
    if entry.contains_key("transport") || !report.may_speak_otherwise() {
        return (parsed, report);
    }
    entry.insert("transport".to_owned(), "sse".into());
    let other = parse(setup, entry);
    let other_report = doctor::examine(setup, &other).await;
    if other_report.works() || other_report.needs_sign_in() {
        return (other, other_report);
    }
    entry.remove("transport");
    (parsed, report)
}

/// Asks the server how it is spoken to and signed in to; says so, and gives the `auth_type`. An error is in
/// words for whoever adds it.
async fn probe(setup: &Setup, entry: &mut Map<String, Value>) -> Result<&'static str, String> {
    // What the flags say already says it all, if they name what belongs to one kind alone.
    let told = ["cognito_user_pool_id", "credentials", "client_id", "issuer", "token_url"];
    let kinds = ["cognito", "api_key", "oauth2", "oauth2", "oauth2"];
    let told = told.into_iter().zip(kinds).find(|(field, _)| entry.contains_key(*field));
    let mut outcome = knock(setup, entry).await?;
    let may_be_sse = outcome.as_ref().is_err_and(McpError::may_be_other_transport);
    if may_be_sse && !entry.contains_key("transport") {
        entry.insert("transport".to_owned(), "sse".into());
        let over_sse = knock(setup, entry).await?;
        match over_sse {
            Ok(()) | Err(McpError::Unauthorized) => outcome = over_sse,
            Err(_) => drop(entry.remove("transport")),
        }
    }
    let transport = entry.get("transport").and_then(Value::as_str).unwrap_or("streamable_http");
    match (told, outcome) {
        (Some((_, kind)), _) => Ok(kind),
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

/// Connects without signing in.
async fn knock(setup: &Setup, entry: &Map<String, Value>) -> Result<Result<(), McpError>, String> {
    let fields = ["mcp_url", "agent_runtime_arn", "region", "qualifier", "transport", "extra_headers"];
    let mut bare: Map<String, Value> =
        fields.iter().filter_map(|field| Some(((*field).to_owned(), entry.get(*field)?.clone()))).collect();
    bare.insert("auth_type".to_owned(), "none".into());
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

async fn how_to_sign_in(setup: &Setup, entry: &Map<String, Value>) -> &'static str {
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
            println!("No authorization server is found ({error}): it will want a key.");
            "api_key"
        }
    }
}

/// Whether a server that lists its tools to anybody is to be signed in to all the same. One that names an
/// authorization server may want a sign-in for calls: only the user knows.
async fn none_or_oauth(setup: &Setup, entry: &Map<String, Value>) -> anyhow::Result<&'static str> {
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

/// Signs in once more where a client has to be registered by hand: asks for it.
async fn sign_in_as_a_registered_client(
    setup: &Setup,
    entry: &mut Map<String, Value>,
    options: &BrowserOptions,
    error: anyhow::Error,
) -> anyhow::Result<()> {
    let needed = error.downcast_ref::<NotSignedIn>().and_then(|error| error.client_needed_with.clone());
    let Some(redirect_uri) = needed.filter(|_| prompt::is_at_terminal()) else { return Err(error) };
    println!("{error}\n");
    println!("Register a client there with the redirect URI {redirect_uri}, then give its id.");
    if !ask_for_client(entry)? {
        return Err(error);
    }
    let parsed = parse(setup, entry);
    let Some(server) = &parsed.server else { return Err(error) };
    let id = entry["agent_name"].as_str().unwrap_or_default();
    sign_in(setup, id, server, &options.with_redirect_uri(redirect_uri)).await
}

/// Asks for a client's id, and its secret if it has one. Whether there was an answer.
fn ask_for_client(entry: &mut Map<String, Value>) -> anyhow::Result<bool> {
    let Some(id) = prompt::line("Client id")? else { return Ok(false) };
    entry.insert("client_id".to_owned(), id.into());
    if !entry.contains_key("client_secret") && !entry.contains_key("private_key") {
        let secret = prompt::optional_secret("Its secret, empty if it has none")?;
        entry.extend(secret.map(|s| ("client_secret".to_owned(), s.expose_secret().into())));
    }
    Ok(true)
}

/// Asks for what this kind of sign-in cannot do without.
async fn complete(setup: &Setup, entry: &mut Map<String, Value>, options: &Options) -> anyhow::Result<()> {
    let is =
        |entry: &Map<String, Value>, kind: &str| entry.get("auth_type").and_then(Value::as_str) == Some(kind);
    if is(entry, "api_key") || is(entry, "token") {
        if !entry.contains_key("credentials") {
            let key = prompt::secret(None, "The key", "--credentials-file")?;
            entry.insert("credentials".to_owned(), key.expose_secret().into());
        }
    } else if is(entry, "cognito") {
        for (field, what) in COGNITO {
            if !entry.contains_key(field) {
                entry.extend(prompt::line(what)?.map(|answer| (field.to_owned(), answer.into())));
            }
        }
        if !entry.contains_key("cognito_password") {
            let password = prompt::secret(None, "The password", "--cognito-password-file")?;
            entry.insert("cognito_password".to_owned(), password.expose_secret().into());
        }
    } else if is(entry, "oauth2") && needs_proof(entry) {
        let secret = prompt::secret(None, "The client's secret", "--client-secret-file")?;
        entry.insert("client_secret".to_owned(), secret.expose_secret().into());
    } else if is(entry, "oauth2") && !entry.contains_key("client_id") {
        let Some(config) = oauth_config(setup, entry) else { return Ok(()) };
        let found = setup.within(setup.connector.sign_in().oauth().discover(&config)).await?;
        let Ok(server) = found else { return Ok(()) };
        let has_document = server.takes_client_metadata_documents && options.browser.has_metadata_document();
        let registers = server.registration_endpoint.is_some() || has_document;
        if server.grant == GrantType::AuthorizationCode && registers {
            return Ok(());
        }
        println!("It lets no client register itself: register one there, then give its id.");
        if !ask_for_client(entry)? {
            bail!("a client id is needed: give --client-id, and --client-secret-file if it has a secret")
        }
    }
    Ok(())
}

/// What is asked for one by one.
const COGNITO: [(&str, &str); 3] = [
    ("cognito_user_pool_id", "The user pool's id"),
    ("cognito_client_id", "The app client's id"),
    ("cognito_username", "The service user's name"),
];

/// Whether a client is to sign in for itself and has nothing to prove who it is.
fn needs_proof(entry: &Map<String, Value>) -> bool {
    let says = |field: &str| entry.get(field).and_then(Value::as_str);
    let has_proof = ["client_secret", "private_key"].iter().any(|field| entry.contains_key(*field));
    says("grant_type") == Some("client_credentials") && says("client_id").is_some() && !has_proof
}

/// A name that people read; the host's, if nobody is there to give one.
fn name(entry: &mut Map<String, Value>) -> anyhow::Result<()> {
    if entry.contains_key("agent_name") {
        return Ok(());
    }
    let url = entry.get("mcp_url").and_then(Value::as_str).and_then(|url| url::Url::parse(url).ok());
    let host = url.as_ref().and_then(|url| url.host_str()).unwrap_or("AgentCore").to_owned();
    let name = prompt::line(&format!("The agent's name [{host}]"))?.unwrap_or(host);
    entry.insert("agent_name".to_owned(), name.into());
    Ok(())
}

fn parse(setup: &Setup, entry: &Map<String, Value>) -> ParsedEntry {
    setup.parse(&[Value::Object(entry.clone())]).remove(0)
}

/// How the entry's server would be signed in to with OAuth; `None` if the entry falls out then.
fn oauth_config(setup: &Setup, entry: &Map<String, Value>) -> Option<Box<OAuthConfig>> {
    let mut entry = entry.clone();
    entry.insert("auth_type".to_owned(), "oauth2".into());
    match parse(setup, &entry).server?.auth {
        AuthConfig::OAuth(config) => Some(config),
        _ => None,
    }
}
