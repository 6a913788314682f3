//! Runs one stand-in on a free loopback port until the process is stopped. Prints the port as its first line.

use clap::Parser;
use test_support::{example, faulty, model};

/// Stand-ins for tests, the demo and the bench.
#[derive(Parser)]
enum Command {
    /// MCP servers with faults: any number of them, configured over HTTP.
    Faulty,
    /// A model that follows a script written in the query; speaks Converse and OpenAI chat completions.
    Model,
    /// An example MCP server that takes Cognito access tokens and nothing else.
    Example(example::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let router = match Command::parse() {
        Command::Faulty => faulty::router(),
        Command::Model => model::router(),
        Command::Example(options) => example::router(options),
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    axum::serve(listener, router).await?;
    Ok(())
}
