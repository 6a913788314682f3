//! What the integration tests of this crate share: a client, and a server with faults in the same process.

// Each test file is a program of its own and uses a part of this.
#![allow(dead_code)]

use std::{sync::Arc, time::Duration};

use auth::{AuthConfig, OAuth, SignIn};
use aws_config::{BehaviorVersion, SdkConfig};
use egress::{Deadlines, HttpClient};
use jiff::{SignedDuration, Timestamp};
use mcp::{Connector, McpServer, Session};
use serde_json::{Value, json};
use test_support::faulty::{Behaviour, FaultyServer};

/// The time, in seconds since the test began.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + seconds)
}

/// A client without any token.
pub(crate) fn connector() -> Connector {
    // Answers come at once or not at all: the limit is only what a test may hang.
    let deadlines = Deadlines { connect: Duration::from_secs(10), read: Duration::from_secs(10) };
    let http = HttpClient::new("true".parse().unwrap(), deadlines);
    let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    let oauth = OAuth::new(http.clone(), Arc::new(vault::ProcessVault::default()));
    Connector::new(http, SignIn::new(aws, oauth))
}

/// A server that behaves so.
pub(crate) async fn server(behaviour: Behaviour) -> FaultyServer {
    FaultyServer::start(behaviour).await.unwrap()
}

/// The entry for a server without a sign-in.
pub(crate) fn entry(server: &FaultyServer) -> McpServer {
    McpServer::new(server.url().parse().unwrap(), AuthConfig::None)
}

/// A session with a server.
pub(crate) async fn session(server: &FaultyServer) -> Session {
    Session::connect(connector(), entry(server), at(0)).await.unwrap()
}

/// A tool as servers list it.
pub(crate) fn tool(name: &str) -> Value {
    json!({"name": name, "description": "A tool.", "inputSchema": {"type": "object"}})
}

/// Pages of tools, by their names.
pub(crate) fn pages(names: &[&[&str]]) -> Vec<Vec<Value>> {
    names.iter().map(|page| page.iter().map(|name| tool(name)).collect()).collect()
}
