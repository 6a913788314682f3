//! `mcp-agents remove`: takes an entry out of the secret, and what was signed in for it.

use std::process::ExitCode;

use anyhow::Context;
use auth::{AuthConfig, Owner};
use clap::Args;

use crate::setup::{CommonOptions, Setup};

/// Removes an agent's entry from the secret, and takes back what was signed in for with this command.
///
/// Comments and the other entries stay as they are.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// The agent's id, as `mcp-agents list` shows it.
    agent: String,
}

/// Removes it.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let setup = Setup::new(&options.common).await?;
    let agent = setup.agent(&options.agent).await?;
    let agentcore = setup.agentcore.clone();
    catalog::edit_secret(setup.secret.as_ref(), |text| {
        catalog::without_agent(text, &options.agent, agentcore.as_ref())
    })
    .await
    .context("nothing was removed")?;
    println!("Removed {} ({}).", agent.id, agent.server.shown_url());
    if let AuthConfig::OAuth(config) = &agent.server.auth {
        let owner = setup.user.clone().map_or(Owner::Everybody, Owner::User);
        if setup.connector.sign_in().oauth().forget(config, &owner, runtime::now()).await? {
            println!("Its sign-in is taken back.");
        }
    }
    Ok(ExitCode::SUCCESS)
}
