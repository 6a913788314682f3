//! `mcp-agents doctor`: checks every entry step by step, and reports the first step that fails.
//!
//! Uses the same code as the deployed functions, and changes nothing. Prints no credential: an entry is named by its
//! position, its agent and its URL without the query.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use auth::AuthConfig;
use clap::Args;
use egress::EgressError;
use mcp::{Connector, McpError, McpServer, Session};
use secret::ParsedEntry;

use crate::{
    progress::Progress,
    report::{EntryReport, Step, StepReport, print_json, print_text},
    setup::{CommonOptions, Setup},
};

/// Checks every entry of the secret, step by step: parsed, name resolved, TLS (connected, at http), authorization
/// server found, signed in, initialized, tools listed.
///
/// Exits with 0 if every entry works, with 1 if one does not, with 2 if there is nothing to check.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// Answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let setup = Setup::new(&options.common).await?;
    let mut reports = Vec::new();
    for entry in setup.entries().await.context("no entries to check")? {
        let report = examine(&setup, &entry).await;
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

/// Checks one entry.
pub(crate) async fn examine(setup: &Setup, entry: &ParsedEntry) -> EntryReport {
    let name = entry.agent_name.as_deref().unwrap_or("without a name");
    let what = format!("entry {} ({name})", entry.position);
    let doctor = Doctor { connector: setup.connector.clone(), timeout: setup.timeout, what };
    let report = doctor.examine(entry).await;
    // A time limit may have cut off a step that refreshes a token: wait for the refresh.
    setup.connector.sign_in().oauth().settled().await;
    report
}

struct Doctor {
    connector: Connector,
    timeout: Duration,
    /// The entry's name on the progress line.
    what: String,
}

impl Doctor {
    async fn examine(&self, entry: &ParsedEntry) -> EntryReport {
        let mut report = EntryReport::new(entry);
        let Some(server) = &entry.server else { return report };
        let mut steps = Vec::new();
        // The first step that fails ends the examination; its report is the last.
        let _ = self.examine_server(server, &mut steps, &mut report.tools).await;
        steps.iter_mut().for_each(|step| step.scrub(server));
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
        let progress = &Progress::new(&format!("{}: resolving its name", self.what));
        let resolved = self.within(async { Ok(http.resolve(&server.url).await.map_err(Arc::new)?) }).await;
        note(steps, Step::Resolved, resolved, |found| {
            found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        })?;
        let (step, reached) = match server.url.scheme() {
            "https" => (Step::Tls, "TLS"),
            _ => (Step::Connected, "plain HTTP, no TLS"),
        };
        progress.step(&format!("{}: connecting", self.what));
        note(steps, step, self.within(self.reach(server)).await, |()| reached.to_owned())?;
        if let AuthConfig::OAuth(config) = &server.auth {
            progress.step(&format!("{}: looking for its authorization server", self.what));
            let oauth = self.connector.sign_in().oauth();
            let found =
                self.within(async { Ok(oauth.discover(config).await.map_err(auth::AuthError::from)?) }).await;
            note(steps, Step::Discovered, found, |server| format!("authorization server {}", server.issuer))?;
        }
        progress.step(&format!("{}: signing in", self.what));
        let credential = self.within(self.connector.credential(server, runtime::now())).await;
        note(steps, Step::SignedIn, credential, |_| {
            let got = match &server.auth {
                AuthConfig::None => "no sign-in configured",
                AuthConfig::ApiKey(_) => "the entry's key is sent",
                AuthConfig::Cognito(_) | AuthConfig::OAuth(_) => "access token received",
            };
            got.to_owned()
        })?;
        // As in the functions, a stored token that the server refuses is renewed once.
        progress.step(&format!("{}: initializing", self.what));
        let opened = Session::connect(self.connector.clone(), server.clone(), runtime::now());
        let opened = self.within(opened).await;
        let session = match opened {
            Ok(session) => session,
            failed => {
                return note(steps, blamed(&failed, Step::Initialized), failed, |_| String::new()).map(drop);
            }
        };
        let revision = session.protocol_version().await;
        steps.push(StepReport::passed(Step::Initialized, format!("MCP {revision}")));
        progress.step(&format!("{}: listing its tools", self.what));
        let list = self.within(session.list_all_tools(runtime::now())).await;
        let step = blamed(&list, Step::ToolsListed);
        let listed = note(steps, step, list, |list| {
            let kept_back = list.tools.iter().filter(|tool| !server.tools.offers(&tool.name)).count();
            let offered = match kept_back {
                0 => format!("{} tools", list.tools.len()),
                kept_back => format!("{} tools, {kept_back} of them not offered", list.tools.len()),
            };
            match list.left_out.as_slice() {
                [] => offered,
                left_out => format!("{offered}; left out: {}", left_out.join("; ")),
            }
        });
        session.close().await;
        let offered = listed?.tools.into_iter().filter(|tool| server.tools.offers(&tool.name));
        tools.extend(offered.map(|tool| tool.name.to_string()));
        Ok(())
    }

    /// Sends a request without a credential. Any answer shows that TCP and TLS work.
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

/// Returns the step that failed. A failed renewal of a token belongs to the sign-in, whatever step it happens in.
fn blamed<T>(outcome: &Result<T, McpError>, step: Step) -> Step {
    if matches!(outcome, Err(McpError::Auth(_))) { Step::SignedIn } else { step }
}

/// Adds a step's result to the report; `Err` ends the check.
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
            // The step had succeeded before, and does not now: its earlier result and the later steps go.
            if let Some(before) = steps.iter().position(|earlier| earlier.is(step)) {
                steps.truncate(before);
            }
            steps.push(StepReport::failed(step, &error));
            Err(())
        }
    }
}
