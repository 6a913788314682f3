//! `mcp-agents tools`: lists the tools that a server has now, and says which of them the entry offers.

use std::process::ExitCode;

use anyhow::{Context, anyhow};
use clap::Args;
use mcp::{McpError, McpServer, Session, Tool, ToolList};
use runtime::plain_json;
use serde_json::json;

use crate::{
    setup::{CommonOptions, Setup},
    table,
};

/// Shows the tools that an agent's server has now.
///
/// Tools that the entry does not offer are shown in brackets.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// The agent's id, as `mcp-agents list` shows it.
    agent: String,
    /// Answer as JSON: the tools as the server describes them, and whether each is offered.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let setup = Setup::new(&options.common).await?;
    let agent = setup.agent(&options.agent).await?;
    let asking = ask(&setup, &agent.server);
    let asked = setup.within(asking).await;
    setup.connector.sign_in().oauth().settled().await;
    let list = asked?
        .map_err(|error| anyhow!("{}; what to do: {}", agent.server.scrub(error.to_string()), error.remedy()))
        .context(agent.id)?;
    let offers = |name: &str| agent.server.tools.offers(name);
    if options.json {
        let tools = list.tools.iter().map(|tool| json!({"tool": tool, "offered": offers(&tool.name)}));
        println!("{}", plain_json(&serde_json::to_string_pretty(&tools.collect::<Vec<_>>())?));
        return Ok(ExitCode::SUCCESS);
    }
    let row = |tool: &Tool| {
        let name = if offers(&tool.name) { tool.name.to_string() } else { format!("[{}]", tool.name) };
        let description = tool.description.as_deref().unwrap_or_default();
        vec![name, description.lines().next().unwrap_or_default().to_owned()]
    };
    table::print_list(&["TOOL", "DESCRIPTION"], list.tools.iter().map(row).collect());
    for note in &list.left_out {
        eprintln!("left out: {note}");
    }
    Ok(ExitCode::SUCCESS)
}

async fn ask(setup: &Setup, server: &McpServer) -> Result<ToolList, McpError> {
    let session = Session::connect(setup.connector.clone(), server.clone(), runtime::now()).await?;
    let list = session.list_all_tools(runtime::now()).await;
    session.close().await;
    list
}
