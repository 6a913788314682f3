//! Helpers of this crate's integration tests: a connector, and a server with faults in the same process.

// Each test file is compiled as a program of its own and uses some of these helpers.
#![allow(dead_code)]

use std::{sync::Arc, time::Duration};

use auth::{AuthConfig, OAuth, SignIn};
use aws_config::{BehaviorVersion, SdkConfig};
use egress::{Deadlines, HttpClient};
use jiff::{SignedDuration, Timestamp};
use mcp::{Connector, McpServer, Session};
use serde_json::{Value, json};
use test_support::faulty::{Behaviour, FaultyServer};

/// Returns the time so many seconds after the start of the test.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + seconds)
}

/// Returns a connector without tokens.
pub(crate) fn connector() -> Connector {
    // The server answers at once or not at all. The deadlines only limit how long a test can hang.
    let deadlines = Deadlines { connect: Duration::from_secs(10), read: Duration::from_secs(10) };
    let http = HttpClient::new("true".parse().unwrap(), deadlines);
    let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    let oauth = OAuth::new(http.clone(), Arc::new(vault::ProcessVault::default()));
    Connector::new(http, SignIn::new(aws, oauth))
}

/// Starts a server with this behaviour.
pub(crate) async fn server(behaviour: Behaviour) -> FaultyServer {
    FaultyServer::start(behaviour).await.unwrap()
}

/// Returns the server's configuration, without a sign-in.
pub(crate) fn entry(server: &FaultyServer) -> McpServer {
    McpServer::new(server.url().parse().unwrap(), AuthConfig::None)
}

/// Opens a session with a server.
pub(crate) async fn session(server: &FaultyServer) -> Session {
    Session::connect(connector(), entry(server), at(0)).await.unwrap()
}

/// Returns a tool object as servers send it.
pub(crate) fn tool(name: &str) -> Value {
    json!({"name": name, "description": "A tool.", "inputSchema": {"type": "object"}})
}

/// Returns pages of tools with these names.
pub(crate) fn pages(names: &[&[&str]]) -> Vec<Vec<Value>> {
    names.iter().map(|page| page.iter().map(|name| tool(name)).collect()).collect()
}
