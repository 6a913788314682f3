//! `mcp-agents`: the command line of those who operate the backend.

mod add;
mod ask;
mod completions;
mod doctor;
mod entry_fields;
mod list;
mod login;
mod progress;
mod prompt;
mod redirect;
mod remove;
mod report;
mod setup;
mod style;
mod table;
mod tools;
mod transcript;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

/// Serverless agents from MCP servers.
///
/// Entries are read from the secret in AWS, which AWS_STACK_NAME or EXTERNAL_MCP_AGENTS_SECRET names, or from a file
/// (--secret). Tokens are stored in a file in your home directory, or in the stack's table if CONNECTIONS_TABLE and
/// CONNECTIONS_KEY are set.
#[derive(Parser)]
#[command(name = "mcp-agents", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Add(Box<add::Options>),
    Ask(ask::Options),
    Completions(completions::Options),
    Doctor(doctor::Options),
    List(list::Options),
    Login(login::Options),
    Remove(remove::Options),
    Tools(tools::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Add(options) => Box::pin(add::run(*options)).await,
        Command::Ask(options) => Box::pin(ask::run(options)).await,
        Command::Completions(options) => Ok(completions::run(&options, Cli::command())),
        Command::Doctor(options) => Box::pin(doctor::run(options)).await,
        Command::List(options) => list::run(options).await,
        Command::Login(options) => Box::pin(login::run(options)).await,
        Command::Remove(options) => remove::run(options).await,
        Command::Tools(options) => Box::pin(tools::run(options)).await,
    };
    outcome.unwrap_or_else(|error| {
        let lines: Vec<String> = format!("{error:#}").lines().map(report::printable).collect();
        anstream::eprintln!("{} {}", style::styled(style::BAD, "mcp-agents:"), lines.join("\n"));
        ExitCode::from(2)
    })
}
