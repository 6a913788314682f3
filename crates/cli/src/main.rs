//! `mcp-agents`: what people who run the backend do from a terminal.

mod doctor;
mod report;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Serverless agents from MCP servers.
#[derive(Parser)]
#[command(name = "mcp-agents", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Doctor(doctor::Options),
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Doctor(options) => doctor::run(options).await,
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("mcp-agents: {error:#}");
        ExitCode::from(2)
    })
}
