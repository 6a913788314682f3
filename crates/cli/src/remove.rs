//! `mcp-agents remove`: removes an entry from the secret, and revokes its sign-in.

use std::process::ExitCode;

use anyhow::Context;
use auth::{AuthConfig, OAuthConfig, Owner, RevocationOutcome};
use catalog::Agent;
use clap::Args;

use crate::{
    report::printable,
    setup::{CommonOptions, Setup},
};

/// Removes an agent's entry from the secret, and revokes the sign-in that `mcp-agents login` made for it.
///
/// Comments and the other entries stay as they are.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    common: CommonOptions,
    /// The agent's id, as `mcp-agents list` shows it.
    agent: String,
}

/// Runs the command.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let setup = Setup::new(&options.common).await?;
    let agent = setup.agent(&options.agent).await?;
    let agentcore = setup.agentcore.clone();
    secret::edit_secret(setup.secret.as_ref(), |text| {
        secret::without_agent(text, &options.agent, agentcore.as_ref())
    })
    .await
    .context("nothing was removed")?;
    println!("Removed {} ({}).", agent.id, agent.server.shown_url());
    if let AuthConfig::OAuth(config) = &agent.server.auth {
        forget(&setup, config).await?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Revokes the sign-in and removes it from the token store, unless another entry uses it too.
async fn forget(setup: &Setup, config: &OAuthConfig) -> anyhow::Result<()> {
    let shares = |agent: &Agent| match &agent.server.auth {
        AuthConfig::OAuth(other) => other.shares_sign_ins_with(config),
        _ => false,
    };
    if let Some(other) = setup.agents().await?.iter().find(|agent| shares(agent)) {
        println!("Its sign-in stays: {} uses it too.", printable(&other.id));
        return Ok(());
    }
    let owner = setup.user.clone().map_or(Owner::Everybody, Owner::User);
    match setup.connector.sign_in().oauth().forget(config, &owner, runtime::now()).await? {
        None => {}
        Some(RevocationOutcome::Revoked) => {
            println!("Its sign-in is taken back, and revoked at the authorization server.")
        }
        Some(RevocationOutcome::NotOffered) => {
            println!(
                "Its sign-in is taken back. The authorization server revokes nothing: its tokens run out."
            );
        }
        Some(RevocationOutcome::Failed(error)) => {
            println!("Its sign-in is taken back, but was not revoked: {}", printable(&error.to_string()));
        }
    }
    Ok(())
}
