//! `mcp-agents list`: lists the agents of the entries. Contacts no MCP server.

use std::process::ExitCode;

use auth::AuthConfig;
use catalog::Agent;
use clap::Args;
use runtime::plain_json;
use secret::agents_of;
use serde_json::json;

use crate::{
    report::printable,
    setup::{CommonOptions, Setup},
    table,
};

/// Lists the agents of the entries, without contacting their servers.
///
/// Exits with 0 if every entry is valid, with 1 if one is skipped.
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
    let parsed = setup.entries().await?;
    let all_work = parsed.iter().all(|entry| entry.server.is_some());
    let diagnostics: Vec<_> = parsed.iter().flat_map(|entry| entry.diagnostics.clone()).collect();
    let agents = agents_of(parsed);
    if options.json {
        let agents = agents.iter().map(|agent| {
            json!({
                "agent_id": agent.id, "agent_name": agent.name, "url": agent.server.shown_url(),
                "auth_type": auth_type(&agent.server.auth),
            })
        });
        println!("{}", plain_json(&serde_json::to_string_pretty(&agents.collect::<Vec<_>>())?));
    } else if agents.is_empty() {
        println!("There are no agents: `mcp-agents add URL` makes one.");
    } else {
        let row = |agent: &Agent| {
            vec![agent.id.clone(), auth_type(&agent.server.auth).to_owned(), agent.server.shown_url()]
        };
        table::print_list(&["AGENT", "SIGN-IN", "SERVER"], agents.iter().map(row).collect());
    }
    for diagnostic in diagnostics {
        eprintln!("{}", printable(&diagnostic.to_string()));
    }
    Ok(if all_work { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn auth_type(auth: &AuthConfig) -> &'static str {
    match auth {
        AuthConfig::None => "none",
        AuthConfig::Cognito(_) => "cognito",
        AuthConfig::ApiKey(_) => "api_key",
        AuthConfig::OAuth(_) => "oauth2",
    }
}
