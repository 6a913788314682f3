//! The tools of one run: what the model is told of them, calling one, and what it hears back.
//!
//! Whatever goes wrong with a call comes back to the model as an error result, which it can answer
//! with. Arguments that do not fit a tool's schema never reach its server. One audit line per call,
//! without arguments and results.

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

/// The most of a tool's description that a model is given, in characters.
const MAX_DESCRIPTION: usize = 4_000;

/// The tools of one agent in one run.
pub(crate) struct Toolbox<'a, N> {
    session: &'a Session,
    server: &'a McpServer,
    /// The server's URL as it is logged and counted under.
    url: String,
    run: &'a Run<'a, N>,
    names: ToolNames,
    specs: Vec<ToolSpec>,
    known: HashMap<String, Known>,
    /// What the patterns of all schemas may take once compiled.
    patterns: Arc<PatternBudget>,
}

/// What is known of a tool beside what the model is told.
struct Known {
    schema: ToolSchema,
    /// Compiled when the tool is first called: most tools of a run are not.
    checker: OnceCell<Arc<ArgumentChecker>>,
    /// Whether calling it twice is as good as once: it only reads, or says that it is idempotent.
    is_repeatable: bool,
}

impl<'a, N: EffectNote> Toolbox<'a, N> {
    /// The tools of `session`'s server, which are judged already: `mcp` lists no tool twice, and none that no model
    /// can be offered.
    pub(crate) fn new(
        session: &'a Session,
        server: &'a McpServer,
        run: &'a Run<'a, N>,
        tools: Vec<Tool>,
    ) -> Self {
        let (mut names, mut specs, mut known) = (ToolNames::default(), Vec::new(), HashMap::new());
        for tool in tools {
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
            known.insert(tool.name.to_string(), Known { schema, checker: OnceCell::new(), is_repeatable });
        }
        let (url, patterns) = (server.shown_url(), Arc::default());
        Self { session, server, url, run, names, specs, known, patterns }
    }

    /// What the model is told.
    pub(crate) fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// Calls what the model asked for.
    ///
    /// # Errors
    /// Only what ends the run: a budget that is used up, an effect that cannot be noted.
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

    /// The outcome in the audit's word, and what the model is given.
    async fn outcome(&self, tool_use: &ToolUse) -> Result<(&'static str, Vec<Part>), RunError<N::Error>> {
        let says = |outcome, text: String| Ok((outcome, vec![Part::Text(text)]));
        let tool = self.names.original(&tool_use.name);
        let Some((tool, known)) = tool.and_then(|tool| Some((tool, self.known.get(tool)?))) else {
            return says("unknown_tool", format!("There is no tool {}.", tool_use.name));
        };
        let arguments = match &tool_use.input {
            Value::Null => Value::Object(Map::new()),
            input => input.clone(),
        };
        if let Some(faults) = self.faults(known, &arguments).await {
            return says("bad_arguments", format!("The arguments do not fit the tool's schema: {faults}."));
        }
        let Value::Object(arguments) = known.schema.arguments_for_server(arguments) else {
            return says("bad_arguments", "The arguments must be a JSON object.".to_owned());
        };
        self.run.meter.start_call(&self.url)?;
        if !known.is_repeatable {
            let call = EffectfulCall { server: &self.url, tool, arguments: &arguments };
            let permission = self.run.effects.before_call(call).await.map_err(RunError::Effect)?;
            if permission == Permission::Refused {
                return says("refused", "The user did not allow this call: it was not made.".to_owned());
            }
        }
        let call = self.session.call_tool(tool, arguments, (self.run.clock)());
        Ok(match tokio::time::timeout(self.run.limits.tool_call, call).await {
            Err(_) => return says("timeout", timed_out(self.run.limits.tool_call)),
            // What a server says in an error may quote what the entry keeps secret.
            Ok(Err(error)) => {
                let error = self.server.scrub(error.to_string());
                return says("failed", format!("The tool could not be called: {error}."));
            }
            Ok(Ok(result)) => {
                let outcome = if result.is_error == Some(true) { "error" } else { "success" };
                (outcome, parts(&result, self.run.limits.tool_result_bytes))
            }
        })
    }

    /// What is wrong with the arguments of a call, found out on a thread that can be given up: schemas come from
    /// servers. What is not found out within the time of a call is left to the server.
    async fn faults(&self, known: &Known, arguments: &Value) -> Option<String> {
        let check = async {
            let compile = || {
                let (schema, patterns) = (known.schema.clone(), self.patterns.clone());
                async move { tokio::task::spawn_blocking(move || Arc::new(schema.checker(&patterns))).await }
            };
            let checker = known.checker.get_or_try_init(compile).await.ok()?.clone();
            let arguments = arguments.clone();
            tokio::task::spawn_blocking(move || checker.faults(&arguments)).await.ok()?
        };
        tokio::time::timeout(self.run.limits.tool_call, check).await.unwrap_or_else(|_| {
            tracing::warn!(mcp.url = self.url, "External MCP: arguments could not be checked in time");
            None
        })
    }
}

/// The audit line of one call: written when the call ends, and also when the run ends before it.
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
