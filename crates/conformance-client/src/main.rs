//! What the official conformance suite drives: signs in, lists the tools, calls them.
//!
//! Everything is done by the crates that the functions are made of. Only the user is played here: a
//! browser that goes where the authorization URL leads and reads where it is sent back to. The suite gives
//! the server's URL as the last argument, and the scenario, its context and the protocol revision in
//! `MCP_CONFORMANCE_SCENARIO`, `_CONTEXT` and `_PROTOCOL_VERSION`.

mod sign_in;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use auth::AuthConfig;
use egress::EgressPolicy;
use mcp::{Connector, Lifecycle, McpError, McpServer, Session, Tool};
use serde_json::{Map, Value, json};
use url::Url;

/// Longer than any scenario leaves a client without an answer.
const SILENCE: Duration = Duration::from_secs(20);
/// How often a user may be asked in one scenario: once at first, once for more, once at another server.
const MAX_SIGN_INS: usize = 3;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let url: Url =
        std::env::args().next_back().context("no URL")?.parse().context("the last argument is no URL")?;
    let scenario = runtime::environment("MCP_CONFORMANCE_SCENARIO").unwrap_or_default();
    let context = runtime::environment("MCP_CONFORMANCE_CONTEXT").unwrap_or_else(|| "{}".to_owned());
    let context: Value = serde_json::from_str(&context)?;
    let policy: EgressPolicy = "true".parse()?;
    let aws = runtime::aws_config().await;
    let connector = backend::connector(&aws, policy, Arc::new(vault::ProcessVault::default()), SILENCE);
    let revision = runtime::environment("MCP_CONFORMANCE_PROTOCOL_VERSION").unwrap_or_default();
    // The suite has a client begin as the revision that it runs has it.
    let connector = connector.beginning(match revision.as_str() {
        "2026-07-28" => Lifecycle::Stateless,
        _ => Lifecycle::Stateful,
    });
    let auth = match scenario.starts_with("auth/") {
        true => sign_in::config(&url, &scenario, &context),
        false => AuthConfig::None,
    };
    let server = McpServer::new(url, auth);
    for _ in 0..MAX_SIGN_INS {
        match work(&connector, &server, &context).await {
            Err(error) if error.needs_sign_in() => {
                eprintln!("{error}");
                sign_in::sign_in(&connector, &server).await?;
            }
            outcome => return Ok(outcome?),
        }
    }
    Ok(work(&connector, &server, &context).await?)
}

/// Lists the tools and calls each: with what the context says, else with what its schema needs.
async fn work(connector: &Connector, server: &McpServer, context: &Value) -> Result<(), McpError> {
    let session = Session::connect(connector.clone(), server.clone(), runtime::now()).await?;
    let outcome = call_all(&session, context).await;
    session.close().await;
    outcome
}

async fn call_all(session: &Session, context: &Value) -> Result<(), McpError> {
    let list = session.list_tools(runtime::now()).await?;
    for tool in &list.tools {
        let given = context["toolCalls"].as_array().map(|calls| {
            calls
                .iter()
                .filter(|call| call["name"] == *tool.name)
                .map(|call| call["arguments"].clone())
                .collect()
        });
        let calls: Vec<Value> = given.unwrap_or_else(|| vec![arguments(tool, &list.tools)]);
        for arguments in calls {
            let arguments = arguments.as_object().cloned().unwrap_or_default();
            match session.call_tool(&tool.name, arguments, runtime::now()).await {
                // A call that one tool refuses is no reason to leave the others out.
                Err(McpError::Rejected { code, .. }) => eprintln!("{}: JSON-RPC error {code}", tool.name),
                outcome => drop(outcome?),
            }
        }
    }
    Ok(())
}

/// What a tool's schema needs.
fn arguments(tool: &Tool, tools: &[Tool]) -> Value {
    if tool.name == "json_schema_echo" {
        let echoed = tools.iter().find(|other| other.name == "json_schema_2020_12_tool");
        return json!({"schema": echoed.map(|tool| Value::Object((*tool.input_schema).clone()))});
    }
    let properties = tool.input_schema.get("properties").and_then(Value::as_object);
    let value = |schema: &Value| match schema["type"].as_str() {
        Some("number" | "integer") => json!(1),
        Some("boolean") => json!(true),
        _ => json!("text"),
    };
    let values = properties.into_iter().flatten().map(|(name, schema)| (name.clone(), value(schema)));
    Value::Object(values.collect::<Map<_, _>>())
}
