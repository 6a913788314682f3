//! `mcp-agents doctor`: for every entry, step by step, what works and what the first failure is.
//!
//! Goes the way that the functions go, with the functions' own code, and changes nothing. Prints no
//! credential: entries are told by position, id and URL without its query.

use std::{path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use catalog::{ParsedEntry, SecretFile, SecretSource, SecretsManager, parse_entries, parse_secret};
use clap::Args;
use egress::{EgressError, EgressPolicy};
use mcp::{Connection, Connector, McpError, McpServer};
use runtime::{McpConfig, SecretConfig, Vars};

use crate::report::{EntryReport, Step, StepReport, print_json, print_text};

/// Checks every entry of the secret: parsed, name resolved, TLS, signed in, initialized, tools listed.
///
/// Reads the secret from AWS (AWS_STACK_NAME, or EXTERNAL_MCP_AGENTS_SECRET, names it) or from a file.
/// Exits with 0 if every entry works, with 1 if one does not, with 2 if there is nothing to check.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Read the entries from this file instead of AWS.
    #[arg(long, value_name = "FILE")]
    secret: Option<PathBuf>,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
    /// Private addresses that servers may have: `true`, or CIDRs; as ALLOW_PRIVATE_MCP_SERVERS.
    #[arg(long, value_name = "POLICY")]
    allow_private: Option<EgressPolicy>,
    /// How many seconds each step may take.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    timeout: u64,
}

/// Runs the checks and prints them.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let aws = runtime::aws_config().await;
    let mut vars = Vars::new(&runtime::environment);
    let secret = SecretConfig::from_vars(&vars);
    let configured = McpConfig::from_vars(&mut vars);
    let configured = vars.finish(configured)?;
    let source: Arc<dyn SecretSource> = match options.secret {
        Some(path) => Arc::new(SecretFile::new(path)),
        None => {
            let client = aws_sdk_secretsmanager::Client::new(&aws);
            Arc::new(SecretsManager::new(client, secret.secret_id))
        }
    };
    let text = source.read().await.context("no entries to check")?;
    let entries = parse_entries(&parse_secret(&text).context("no entries to check")?);
    let policy = options.allow_private.unwrap_or(configured.policy);
    let timeout = Duration::from_secs(options.timeout);
    let doctor = Doctor { connector: runtime::connector(&aws, &McpConfig { policy }, timeout), timeout };
    let mut reports = Vec::new();
    for entry in &entries {
        let report = doctor.examine(entry).await;
        if !options.json {
            print_text(&report);
        }
        reports.push(report);
    }
    if options.json {
        print_json(&reports)?;
    } else if reports.is_empty() {
        println!("The secret holds no entries: [] is valid, and lists no agents.");
    }
    let all_work = reports.iter().all(EntryReport::works);
    Ok(if all_work { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Doctor {
    connector: Connector,
    timeout: Duration,
}

impl Doctor {
    async fn examine(&self, entry: &ParsedEntry) -> EntryReport {
        let mut report = EntryReport::new(entry);
        let Some(server) = &entry.server else { return report };
        let mut steps = Vec::new();
        // The first step that fails ends the examination; its report is the last.
        let _ = self.examine_server(server, &mut steps, &mut report.tools).await;
        report.steps.extend(steps);
        report
    }

    async fn examine_server(
        &self,
        server: &McpServer,
        steps: &mut Vec<StepReport>,
        tools: &mut Vec<String>,
    ) -> Result<(), ()> {
        let http = self.connector.http();
        let resolved = self.within(async { Ok(http.resolve(&server.url).await.map_err(Arc::new)?) }).await;
        note(steps, Step::Resolved, resolved, |found| {
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        })?;
        note(steps, Step::Tls, self.within(self.reach(server)).await, |()| {
            let secured = if server.url.scheme() == "https" { "TLS" } else { "plain HTTP, no TLS" };
            secured.to_owned()
        })?;
        let credential = self.within(self.connector.credential(server, runtime::now())).await;
        let credential = note(steps, Step::SignedIn, credential, |credential| {
            let got = if credential.authorization().is_some() {
                "access token received"
            } else {
                "no sign-in configured"
            };
            got.to_owned()
        })?;
        let opened = self.within(self.connector.open(server, credential)).await;
        let connection: Connection =
            note(steps, Step::Initialized, opened, |_| "MCP session open".to_owned())?;
        let list = self.within(connection.list_tools()).await;
        let listed = note(steps, Step::ToolsListed, list, |list| match list.left_out.as_slice() {
            [] => format!("{} tools", list.tools.len()),
            left_out => format!("{} tools; left out: {}", list.tools.len(), left_out.join("; ")),
        });
        connection.close().await;
        tools.extend(listed?.tools.iter().map(|tool| tool.name.to_string()));
        Ok(())
    }

    /// Sends a bare request: whatever the answer, TCP and TLS are up.
    async fn reach(&self, server: &McpServer) -> Result<(), McpError> {
        let request = http::Request::get(server.url.as_str()).body(Vec::new());
        let request = request.map_err(|_| Arc::new(EgressError::Url))?;
        match self.connector.http().send(request).await {
            Ok(_) | Err(EgressError::Timeout { .. } | EgressError::Broken { .. }) => Ok(()),
            Err(error) => Err(Arc::new(error).into()),
        }
    }

    async fn within<T>(&self, step: impl Future<Output = Result<T, McpError>>) -> Result<T, McpError> {
        let ended = tokio::time::timeout(self.timeout, step).await;
        ended.unwrap_or(Err(McpError::Timeout { after: self.timeout }))
    }
}

/// Notes how a step went; `Err` ends the examination.
fn note<T>(
    steps: &mut Vec<StepReport>,
    step: Step,
    outcome: Result<T, McpError>,
    found: impl FnOnce(&T) -> String,
) -> Result<T, ()> {
    match outcome {
        Ok(value) => {
            steps.push(StepReport::passed(step, found(&value)));
            Ok(value)
        }
        Err(error) => {
            steps.push(StepReport::failed(step, &error));
            Err(())
        }
    }
}
