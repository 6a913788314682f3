//! The tools of one run: what the model is told of them, calling one, and what it hears back.
//!
//! Whatever goes wrong with a call comes back to the model as an error result, which it can answer
//! with. Arguments that do not fit a tool's schema never reach its server. One audit line per call,
//! without arguments and results.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use jobs::Job;
use mcp::{CallToolResult, ContentBlock, ResourceContents, Session, Tool};
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use crate::{
    error::RunError,
    model::{ToolResult, ToolSpec, ToolUse},
    names::ToolNames,
    run::Run,
    schema::Schema,
};

/// The most of a tool's description that a model is given, in characters.
const MAX_DESCRIPTION: usize = 4_000;

/// The tools of one agent in one run.
pub(crate) struct Toolbox<'a> {
    session: &'a Session,
    server: &'a str,
    run: &'a Run<'a>,
    names: ToolNames,
    specs: Vec<ToolSpec>,
    known: HashMap<String, Known>,
    /// Whether it is noted on the job that a tool which may change something was called.
    effect_noted: OnceCell<()>,
}

/// What is known of a tool beside what the model is told.
struct Known {
    schema: Schema,
    /// Whether calling it twice is as good as once: it only reads, or says that it is idempotent.
    is_repeatable: bool,
}

impl<'a> Toolbox<'a> {
    /// The tools of `session`'s server. One that Bedrock would refuse is left out with a warning.
    pub(crate) fn new(session: &'a Session, server: &'a str, run: &'a Run<'a>, tools: Vec<Tool>) -> Self {
        let (mut names, mut specs, mut known) = (ToolNames::default(), Vec::new(), HashMap::new());
        for tool in tools {
            let schema = match Schema::new(&tool.input_schema) {
                Ok(schema) => schema,
                Err(reason) => {
                    tracing::warn!(mcp.url = server, tool.name = %tool.name, reason, "External MCP: tool left out");
                    continue;
                }
            };
            // A server that lists a tool twice means the first.
            let Some(name) = names.assign(&tool.name) else {
                tracing::warn!(mcp.url = server, tool.name = %tool.name, "External MCP: tool left out, its name is taken");
                continue;
            };
            let hints = tool.annotations.as_ref();
            let is_repeatable = hints.is_some_and(|hints| {
                hints.read_only_hint == Some(true) || hints.idempotent_hint == Some(true)
            });
            let description = tool.description.or(tool.title.map(Into::into));
            specs.push(ToolSpec {
                name,
                description: description.map(|text| text.chars().take(MAX_DESCRIPTION).collect()),
                input_schema: schema.shown.clone(),
            });
            known.insert(tool.name.to_string(), Known { schema, is_repeatable });
        }
        Self { session, server, run, names, specs, known, effect_noted: OnceCell::new() }
    }

    /// What the model is told.
    pub(crate) fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// Calls what the model asked for.
    ///
    /// # Errors
    /// Only what ends the run: a budget that is used up, a job that is lost.
    pub(crate) async fn call(&self, tool_use: &ToolUse) -> Result<ToolResult, RunError> {
        let mut audit = Audit {
            job: self.run.claim.job(),
            server: self.server,
            tool: self.names.original(&tool_use.name).unwrap_or(&tool_use.name),
            outcome: "cancelled",
            started: Instant::now(),
        };
        let (outcome, text) = self.outcome(tool_use).await?;
        audit.outcome = outcome;
        Ok(ToolResult { id: tool_use.id.clone(), text, is_error: outcome != "success" })
    }

    /// The outcome in the audit's word, and what the model hears.
    async fn outcome(&self, tool_use: &ToolUse) -> Result<(&'static str, String), RunError> {
        let tool = self.names.original(&tool_use.name);
        let Some((tool, known)) = tool.and_then(|tool| Some((tool, self.known.get(tool)?))) else {
            return Ok(("unknown_tool", format!("There is no tool {}.", tool_use.name)));
        };
        let arguments = match &tool_use.input {
            Value::Null => Value::Object(Map::new()),
            input => input.clone(),
        };
        if let Some(faults) = known.schema.faults(&arguments) {
            return Ok(("bad_arguments", format!("The arguments do not fit the tool's schema: {faults}.")));
        }
        let Value::Object(arguments) = arguments else {
            return Ok(("bad_arguments", "The arguments must be a JSON object.".to_owned()));
        };
        self.run.meter.start_call(self.server)?;
        if !known.is_repeatable {
            self.effect_noted.get_or_try_init(|| self.run.claim.note_effect(tool)).await?;
        }
        let call = self.session.call_tool(tool, arguments, (self.run.clock)());
        Ok(match tokio::time::timeout(self.run.limits.tool_call, call).await {
            Err(_) => ("timeout", timed_out(self.run.limits.tool_call)),
            Ok(Err(error)) => ("failed", format!("The tool could not be called: {error}.")),
            Ok(Ok(result)) => {
                let outcome = if result.is_error == Some(true) { "error" } else { "success" };
                (outcome, text_of(&result, self.run.limits.tool_result_bytes))
            }
        })
    }
}

/// The audit line of one call: written when the call ends, and also when the run ends before it.
struct Audit<'a> {
    job: &'a Job,
    server: &'a str,
    tool: &'a str,
    outcome: &'static str,
    started: Instant,
}

impl Drop for Audit<'_> {
    fn drop(&mut self) {
        tracing::info!(
            user.id = self.job.user_id,
            job.id = self.job.job_id,
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

/// A result as text of at most `limit` bytes.
fn text_of(result: &CallToolResult, limit: usize) -> String {
    let mut parts: Vec<String> = result.content.iter().map(block_text).collect();
    // Servers that structure their result repeat it as text for old clients; once is enough.
    if let Some(structured) = &result.structured_content {
        let structured = structured.to_string();
        let is_repeated = |part: &String| {
            serde_json::from_str::<Value>(part)
                .is_ok_and(|value| Some(&value) == result.structured_content.as_ref())
        };
        if !parts.iter().any(is_repeated) {
            parts.push(structured);
        }
    }
    cut(parts.join("\n"), limit)
}

fn block_text(block: &ContentBlock) -> String {
    match block {
        ContentBlock::Text(text) => text.text.clone(),
        ContentBlock::Image(image) => {
            format!("[image, {}, {} bytes in Base64]", image.mime_type, image.data.len())
        }
        ContentBlock::Audio(audio) => {
            format!("[audio, {}, {} bytes in Base64]", audio.mime_type, audio.data.len())
        }
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => format!("[resource {uri}]\n{text}"),
            ResourceContents::BlobResourceContents { uri, blob, .. } => {
                format!("[resource {uri}, {} bytes in Base64]", blob.len())
            }
            _ => "[resource of an unknown kind]".to_owned(),
        },
        ContentBlock::ResourceLink(link) => format!("[link to resource {}: {}]", link.name, link.uri),
        _ => "[content of an unknown kind]".to_owned(),
    }
}

fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = text.floor_char_boundary(limit);
        let missing = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("\n[cut here: {missing} more bytes are missing]"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(result: Value, expected: &str) {
        let result: CallToolResult = serde_json::from_value(result).unwrap();
        assert_eq!(text_of(&result, 1_000), expected);
    }

    #[test]
    fn every_kind_of_content_becomes_text() {
        check(json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}), "a\nb");
        check(
            json!({"content": [{"type": "image", "mimeType": "image/png", "data": "AAAA"}]}),
            "[image, image/png, 4 bytes in Base64]",
        );
        check(
            json!({"content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "hello"}}]}),
            "[resource file:///a]\nhello",
        );
        check(
            json!({"content": [{"type": "resource_link", "uri": "file:///a", "name": "a"}]}),
            "[link to resource a: file:///a]",
        );
    }

    #[test]
    fn structured_content_is_told_once() {
        let text = json!({"sum": 5}).to_string();
        check(json!({"content": [{"type": "text", "text": text}], "structuredContent": {"sum": 5}}), &text);
        check(json!({"content": [], "structuredContent": {"sum": 5}}), &text);
    }

    #[test]
    fn a_long_result_is_cut_and_says_so() {
        assert_eq!(cut("ü".repeat(10), 11), "üüüüü\n[cut here: 10 more bytes are missing]");
        assert_eq!(cut("short".into(), 5), "short");
    }
}
