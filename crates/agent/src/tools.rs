//! The tools of one run: what the model is told of them, calling one, and what it hears back.
//!
//! Whatever goes wrong with a call comes back to the model as an error result, which it can answer
//! with; nothing here ends a run. One audit line per call, without arguments and results.

use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::Timestamp;
use jobs::Job;
use mcp::{CallToolResult, ContentBlock, ResourceContents, Session, Tool};
use serde_json::Value;

use crate::{
    model::{ToolResult, ToolSpec, ToolUse},
    names::ToolNames,
};

/// The most of one result that a model is given, in bytes: some 25,000 tokens.
const MAX_RESULT_BYTES: usize = 100_000;
/// The most of a tool's description that a model is given, in characters.
const MAX_DESCRIPTION: usize = 4_000;

/// The tools of one agent in one run.
pub(crate) struct Toolbox<'a> {
    session: &'a Session,
    server: &'a str,
    job: &'a Job,
    names: ToolNames,
    specs: Vec<ToolSpec>,
    timeout: Duration,
}

impl<'a> Toolbox<'a> {
    /// The tools of `session`'s server, called on behalf of `job`, each within `timeout`.
    pub(crate) fn new(
        session: &'a Session,
        server: &'a str,
        job: &'a Job,
        tools: Vec<Tool>,
        timeout: Duration,
    ) -> Self {
        let mut names = ToolNames::default();
        let specs = tools.into_iter().filter_map(|tool| {
            let description = tool.description.or(tool.title.map(Into::into));
            Some(ToolSpec {
                name: names.assign(&tool.name)?,
                description: description.map(|text| text.chars().take(MAX_DESCRIPTION).collect()),
                input_schema: Value::Object((*tool.input_schema).clone()),
            })
        });
        let specs = specs.collect();
        Self { session, server, job, names, specs, timeout }
    }

    /// What the model is told.
    pub(crate) fn specs(&self) -> &[ToolSpec] {
        &self.specs
    }

    /// Calls what the model asked for, all at once, and gives the results in the order asked.
    pub(crate) async fn call_all(&self, tool_uses: &[ToolUse], now: Timestamp) -> Vec<ToolResult> {
        join_all(tool_uses.iter().map(|tool_use| self.call(tool_use, now))).await
    }

    async fn call(&self, tool_use: &ToolUse, now: Timestamp) -> ToolResult {
        let started = Instant::now();
        let (outcome, text) = self.outcome(tool_use, now).await;
        tracing::info!(
            user.id = self.job.user_id,
            job.id = self.job.job_id,
            mcp.url = self.server,
            tool.name = self.names.original(&tool_use.name).unwrap_or(&tool_use.name),
            tool.outcome = outcome,
            duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "External MCP: tool call"
        );
        ToolResult { id: tool_use.id.clone(), text, is_error: outcome != "success" }
    }

    /// The outcome in the audit's word, and what the model hears.
    async fn outcome(&self, tool_use: &ToolUse, now: Timestamp) -> (&'static str, String) {
        let Some(tool) = self.names.original(&tool_use.name) else {
            return ("unknown_tool", format!("There is no tool {}.", tool_use.name));
        };
        let arguments = match &tool_use.input {
            Value::Object(arguments) => arguments.clone(),
            Value::Null => serde_json::Map::new(),
            _ => return ("bad_arguments", "The arguments must be a JSON object.".to_owned()),
        };
        let call = self.session.call_tool(tool, arguments, now);
        match tokio::time::timeout(self.timeout, call).await {
            Err(_) => {
                let text = format!("The tool did not answer within {} s.", self.timeout.as_secs());
                ("timeout", text)
            }
            Ok(Err(error)) => ("failed", format!("The tool could not be called: {error}.")),
            Ok(Ok(result)) if result.is_error == Some(true) => ("error", text_of(&result)),
            Ok(Ok(result)) => ("success", text_of(&result)),
        }
    }
}

/// A result as text, cut where it is too long.
fn text_of(result: &CallToolResult) -> String {
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
    cut(parts.join("\n"))
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

fn cut(mut text: String) -> String {
    if text.len() > MAX_RESULT_BYTES {
        let end = text.floor_char_boundary(MAX_RESULT_BYTES);
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
        assert_eq!(text_of(&result), expected);
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
        let text = cut("ü".repeat(MAX_RESULT_BYTES));
        assert!(text.ends_with("[cut here: 100000 more bytes are missing]"), "{}", &text[text.len() - 60..]);
        assert_eq!(cut("short".into()), "short");
    }
}
