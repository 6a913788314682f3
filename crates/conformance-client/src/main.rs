//! The client that the official MCP conformance suite drives: signs in, lists the tools and calls them.
//!
//! All of this is done by the crates that the functions use. Only the user's browser is simulated here: it opens the
//! authorization URL and reads the redirect. The suite starts this program with the server's URL as the last argument,
//! and with the scenario, its context and the protocol revision in `MCP_CONFORMANCE_SCENARIO`, `_CONTEXT` and
//! `_PROTOCOL_VERSION`.

mod sign_in;

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use auth::AuthConfig;
use egress::EgressPolicy;
use mcp::{Connector, McpError, McpServer, OpeningRequest, Session, Tool};
use serde_json::{Map, Value, json};
use url::Url;

/// Time limit for reading from a server: longer than any scenario delays an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Maximum number of sign-ins in one scenario: the first one, one for further scopes, one at another authorization
/// server.
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
    let connector = backend::connector(&aws, policy, Arc::new(vault::ProcessVault::default()), READ_TIMEOUT);
    let revision = runtime::environment("MCP_CONFORMANCE_PROTOCOL_VERSION").unwrap_or_default();
    // The suite expects the opening request of the revision that it tests.
    let connector = connector.with_preferred_opening(match revision.as_str() {
        "2026-07-28" => OpeningRequest::Discover,
        _ => OpeningRequest::Initialize,
    });
    let auth = match scenario.starts_with("auth/") {
        true => sign_in::config(&url, &scenario, &context),
        false => AuthConfig::None,
    };
    let server = McpServer::new(url, auth);
    for _ in 0..MAX_SIGN_INS {
        match run_scenario(&connector, &server, &context).await {
            Err(error) if error.needs_sign_in() => {
                eprintln!("{error}");
                sign_in::sign_in(&connector, &server).await?;
            }
            outcome => return Ok(outcome?),
        }
    }
    Ok(run_scenario(&connector, &server, &context).await?)
}

/// Lists the tools and calls each, with the arguments of the context or else with arguments that fit its schema.
async fn run_scenario(connector: &Connector, server: &McpServer, context: &Value) -> Result<(), McpError> {
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
                // A refused call of one tool must not prevent the calls of the others.
                Err(McpError::Rejected { code, .. }) => eprintln!("{}: JSON-RPC error {code}", tool.name),
                outcome => drop(outcome?),
            }
        }
    }
    Ok(())
}

/// Returns arguments that fit a tool's schema.
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
