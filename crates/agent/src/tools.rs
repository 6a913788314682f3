//! The tools of one agent in one run: describes them to the model and calls them.
//!
//! A call that fails gives the model an error result, and the run goes on. Arguments that do not fit a tool's schema
//! are not sent to the MCP server. Each call writes one audit line to the log, without arguments and results.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use mcp::{ArgumentChecker, McpServer, PatternBudget, Session, Tool, ToolSchema};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use crate::{
    context::{Run, RunLabels},
    effect::{EffectNote, EffectfulCall, Permission},
    error::RunError,
    model::{ToolResult, ToolSpec, ToolUse},
    names::ToolNames,
    result::{Part, parts},
};

/// The longest tool description that the model receives, in characters. A longer one is cut.
const MAX_DESCRIPTION: usize = 4_000;

/// The tools of one agent in one run.
pub(crate) struct Toolbox<'a, N> {
    session: &'a Session,
    server: &'a McpServer,
    /// The server's URL without user info, query and fragment: the name of the server in the log and in the usage.
    url: String,
    run: &'a Run<'a, N>,
    names: ToolNames,
    specs: Vec<ToolSpec>,
    /// The tools by the name that the server lists them under.
    tools: HashMap<String, OfferedTool>,
    /// The budget of memory for the compiled patterns of all schemas.
    patterns: Arc<PatternBudget>,
}

/// A tool that the model can call, without what the model is told of it.
struct OfferedTool {
    schema: ToolSchema,
    /// Compiled at the first call of the tool, because most tools are not called in a run.
    checker: OnceCell<Arc<ArgumentChecker>>,
    /// True if a second call does no harm: the tool has `readOnlyHint` or `idempotentHint`.
    is_repeatable: bool,
}

impl<'a, N: EffectNote> Toolbox<'a, N> {
    /// Returns the tools that `session` listed. `mcp` has checked them: it lists no tool twice, and none that a model
    /// cannot be offered.
    pub(crate) fn new(
        session: &'a Session,
        server: &'a McpServer,
        run: &'a Run<'a, N>,
        listed: Vec<Tool>,
    ) -> Self {
        let (mut names, mut specs, mut tools) = (ToolNames::default(), Vec::new(), HashMap::new());
        for tool in listed {
            let Ok(schema) = ToolSchema::new(&tool.input_schema) else { continue };
            let Some(name) = names.assign(&tool.name) else { continue };
            let hints = tool.annotations.as_ref();
            let is_repeatable = hints.is_some_and(|hints| {
                hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true)
            });
            let description = tool.description.or(tool.title.map(Into::into));
            specs.push(ToolSpec {
                name,
                description: description.map(|text| text.chars().take(MAX_DESCRIPTION).collect()),
                input_schema: schema.shown().clone(),
            });
            let offered = OfferedTool { schema, checker: OnceCell::new(), is_repeatable };
            tools.insert(tool.name.to_string(), offered);
        }
        let (url, patterns) = (server.shown_url(), Arc::default());
        Self { session, server, url, run, names, specs, tools, patterns }
    }

    /// Returns the tools as the model receives them.
    pub(crate) fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// Makes the tool call that the model requested.
    ///
    /// # Errors
    /// Errors that end the run: a budget that is used up, or an effect note that failed.
    pub(crate) async fn call(&self, tool_use: &ToolUse) -> Result<ToolResult, RunError<N::Error>> {
        let mut audit = Audit {
            labels: self.run.labels,
            server: &self.url,
            tool: self.names.original(&tool_use.name).unwrap_or(&tool_use.name),
            outcome: "cancelled",
            started: Instant::now(),
        };
        let (outcome, parts) = self.outcome(tool_use).await?;
        audit.outcome = outcome;
        Ok(ToolResult { id: tool_use.id.clone(), parts, is_error: outcome != "success" })
    }

    /// Makes a call. Returns its outcome as the audit line names it, and the content of the model's tool result.
    async fn outcome(&self, tool_use: &ToolUse) -> Result<(&'static str, Vec<Part>), RunError<N::Error>> {
        let text_only = |outcome, text: String| Ok((outcome, vec![Part::Text(text)]));
        let name = self.names.original(&tool_use.name);
        let Some((name, tool)) = name.and_then(|name| Some((name, self.tools.get(name)?))) else {
            return text_only("unknown_tool", format!("There is no tool {}.", tool_use.name));
        };
        let arguments = match &tool_use.input {
            Value::Null => Value::Object(Map::new()),
            input => input.clone(),
        };
        if let Some(faults) = self.argument_faults(tool, &arguments).await {
            let message = format!("The arguments do not fit the tool's schema: {faults}.");
            return text_only("bad_arguments", message);
        }
        let Value::Object(arguments) = tool.schema.arguments_for_server(arguments) else {
            return text_only("bad_arguments", "The arguments must be a JSON object.".to_owned());
        };
        self.run.meter.start_call(&self.url)?;
        if !tool.is_repeatable {
            let call = EffectfulCall { server: &self.url, tool: name, arguments: &arguments };
            let permission = self.run.effects.before_call(call).await.map_err(RunError::Effect)?;
            if permission == Permission::Refused {
                return text_only("refused", "The user did not allow this call: it was not made.".to_owned());
            }
        }
        let call = self.session.call_tool(name, arguments, (self.run.clock)());
        Ok(match tokio::time::timeout(self.run.limits.tool_call, call).await {
            Err(_) => return text_only("timeout", timed_out(self.run.limits.tool_call)),
            // A server's error message may quote a secret of the entry.
            Ok(Err(error)) => {
                let error = self.server.scrub(error.to_string());
                return text_only("failed", format!("The tool could not be called: {error}."));
            }
            Ok(Ok(result)) => {
                let outcome = if result.is_error == Some(true) { "error" } else { "success" };
                (outcome, parts(&result, self.run.limits.tool_result_bytes))
            }
        })
    }

    /// Checks the arguments of a call against the tool's schema. Returns what is wrong with them.
    ///
    /// The check runs on a thread of its own, because a server's schema may make it slow. If the check takes longer
    /// than a call may take, this returns `None`, and the server has to check the arguments.
    async fn argument_faults(&self, tool: &OfferedTool, arguments: &Value) -> Option<String> {
        let check = async {
            let compile = || {
                let (schema, patterns) = (tool.schema.clone(), self.patterns.clone());
                async move { tokio::task::spawn_blocking(move || Arc::new(schema.checker(&patterns))).await }
            };
            let checker = tool.checker.get_or_try_init(compile).await.ok()?.clone();
            let arguments = arguments.clone();
            tokio::task::spawn_blocking(move || checker.faults(&arguments)).await.ok()?
        };
        tokio::time::timeout(self.run.limits.tool_call, check).await.unwrap_or_else(|_| {
            tracing::warn!(mcp.url = self.url, "External MCP: arguments could not be checked in time");
            None
        })
    }
}

/// The audit line of one call, written on drop: when the call ends, or when the run ends before the call.
struct Audit<'a> {
    labels: RunLabels<'a>,
    server: &'a str,
    tool: &'a str,
    outcome: &'static str,
    started: Instant,
}

impl Drop for Audit<'_> {
    fn drop(&mut self) {
        tracing::info!(
            user.id = self.labels.user_id,
            job.id = self.labels.job_id,
            mcp.url = self.server,
            tool.name = self.tool,
            tool.outcome = self.outcome,
            duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "External MCP: tool call"
        );
    }
}

fn timed_out(after: Duration) -> String {
    format!("The tool did not answer within {} s.", after.as_secs())
}
