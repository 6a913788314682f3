//! The adapter to Bedrock's Converse API: asks a model for one turn.
//!
//! The SDK's types do not leave this module. The conversation stores messages as Bedrock returned them, so that blocks
//! that this crate does not read (reasoning with its signature) are sent back unchanged.
//!
//! Runs no tools, has no loop and no retries: [`crate::turns`] has them. Callers hand in a client without retries of
//! its own, because the transcript would not show those.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>

mod document;
mod fault;
mod media;

use std::collections::HashSet;

use aws_sdk_bedrockruntime::{
    Client,
    types::{
        ContentBlock, ConversationRole, GuardrailConfiguration, Message, StopReason, SystemContentBlock,
        TokenUsage, Tool, ToolConfiguration, ToolInputSchema, ToolResultBlock, ToolResultContentBlock,
        ToolResultStatus, ToolSpecification,
    },
};
use serde_json::{Value, json};

pub use self::fault::ModelError;
use self::{
    document::{to_document, to_value},
    fault::explain,
    media::Room,
};
use crate::{meter::Tokens, result::Part};

/// A model behind Bedrock. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Model {
    client: Client,
    model_id: String,
    guardrail: Option<Guardrail>,
}

/// A Bedrock guardrail, written `{id}:{version}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guardrail {
    id: String,
    version: String,
}

/// The error for a text that is not a guardrail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a guardrail of the form `{{id}}:{{version}}`, such as `gr-abc123:1` or `gr-abc123:DRAFT`")]
pub struct GuardrailError;

impl std::str::FromStr for Guardrail {
    type Err = GuardrailError;

    /// Splits the text at its last colon, because an id may be an ARN, which contains colons.
    fn from_str(text: &str) -> Result<Self, GuardrailError> {
        match text.rsplit_once(':') {
            Some((id, version)) if !id.is_empty() && !version.is_empty() => {
                Ok(Self { id: id.to_owned(), version: version.to_owned() })
            }
            _ => Err(GuardrailError),
        }
    }
}

/// One conversation with a model: the system prompt, the tools, the messages.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    system: String,
    tools: Option<ToolConfiguration>,
    messages: Vec<Message>,
    /// Number of documents added so far, removed ones included. The name of each document contains its number.
    documents: usize,
    /// Ids of the tool uses whose results were elided.
    elided: HashSet<String>,
}

/// A tool as the model receives it.
#[derive(Debug, Clone)]
pub(crate) struct ToolSpec {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) input_schema: Value,
}

/// One turn of a model.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    /// The text blocks of the turn, joined by line breaks.
    pub(crate) text: String,
    /// The tool calls that the model requests. The run ends when there are none.
    pub(crate) tool_uses: Vec<ToolUse>,
    /// Bedrock's stop reason, such as `end_turn` or `max_tokens`.
    pub(crate) stop_reason: String,
    /// Tokens that the turn used.
    pub(crate) tokens: Tokens,
}

/// A tool call that a model requests.
#[derive(Debug, Clone)]
pub(crate) struct ToolUse {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) input: Value,
}

/// The result of a tool call that a model requested.
#[derive(Debug, Clone)]
pub(crate) struct ToolResult {
    pub(crate) id: String,
    pub(crate) parts: Vec<Part>,
    pub(crate) is_error: bool,
}

impl Model {
    /// Returns the model or inference profile with this id.
    pub fn new(client: Client, model_id: String, guardrail: Option<Guardrail>) -> Self {
        Self { client, model_id, guardrail }
    }

    fn guardrail_config(&self) -> Option<GuardrailConfiguration> {
        let guardrail = self.guardrail.as_ref()?;
        let config = GuardrailConfiguration::builder()
            .guardrail_identifier(&guardrail.id)
            .guardrail_version(&guardrail.version);
        Some(config.build())
    }

    /// Asks the model for one turn and adds the turn to the conversation.
    #[tracing::instrument(name = "agent.turn", skip_all, fields(model.id = self.model_id))]
    pub(crate) async fn next_turn(&self, conversation: &mut Conversation) -> Result<Turn, ModelError> {
        let answer = self
            .client
            .converse()
            .model_id(&self.model_id)
            .system(SystemContentBlock::Text(conversation.system.clone()))
            .set_messages(Some(conversation.messages.clone()))
            .set_tool_config(conversation.tools.clone())
            .set_guardrail_config(self.guardrail_config())
            .send()
            .await
            .map_err(explain)?;
        let stop_reason = answer.stop_reason;
        let tokens = answer.usage.as_ref().map(tokens).unwrap_or_default();
        let message = answer.output.and_then(|output| output.as_message().ok().cloned());
        let message = message
            .filter(|message| !message.content.is_empty())
            .ok_or_else(|| ModelError::Silent { reason: stop_reason.as_str().to_owned() })?;
        let turn = read(&message, &stop_reason, tokens);
        conversation.messages.push(message);
        Ok(turn)
    }
}

impl Conversation {
    /// Returns a conversation with one message: the user's query.
    pub(crate) fn new(system: String, tools: &[ToolSpec], query: &str) -> Self {
        let specs: Vec<Tool> = tools.iter().filter_map(tool).collect();
        let tools = ToolConfiguration::builder().set_tools(Some(specs)).build().ok();
        let tools = tools.filter(|config| !config.tools.is_empty());
        let mut conversation =
            Self { system, tools, messages: Vec::new(), documents: 0, elided: HashSet::new() };
        conversation.push_user(vec![ContentBlock::Text(query.to_owned())]);
        conversation
    }

    /// Adds the results of all tool calls of the model's last turn.
    pub(crate) fn push_results(&mut self, results: Vec<ToolResult>) {
        let mut room = Room::default();
        let blocks = results.into_iter().filter_map(|result| {
            let status = if result.is_error { ToolResultStatus::Error } else { ToolResultStatus::Success };
            let block = ToolResultBlock::builder()
                .tool_use_id(result.id)
                .set_content(Some(media::content(result.parts, &mut room, &mut self.documents)))
                .status(status);
            block.build().ok().map(ContentBlock::ToolResult)
        });
        let blocks = blocks.collect();
        self.push_user(blocks);
        media::describe_beyond(&mut self.messages, media::MAX_MEDIA_BYTES);
    }

    /// Replaces every image and document with a text that describes it. Returns false if there are none.
    pub(crate) fn describe_media(&mut self) -> bool {
        media::describe_beyond(&mut self.messages, 0)
    }

    /// Elides the older half of the tool results that are not elided yet, but at least one. Returns false if there
    /// are none. The newest result is elided last, because the model needs it most.
    pub(crate) fn elide_oldest_results(&mut self) -> bool {
        let mut results: Vec<&mut ToolResultBlock> = self
            .messages
            .iter_mut()
            .flat_map(|message| &mut message.content)
            .filter_map(|block| match block {
                ContentBlock::ToolResult(result) if !self.elided.contains(&result.tool_use_id) => {
                    Some(result)
                }
                _ => None,
            })
            .collect();
        let count = results.len().div_ceil(2);
        for result in results.iter_mut().take(count) {
            let bytes: usize = result.content.iter().map(media::size).sum();
            let marker = format!("[result elided: {bytes} bytes, to make room]");
            result.content = vec![ToolResultContentBlock::Text(marker)];
            self.elided.insert(result.tool_use_id.clone());
        }
        count > 0
    }

    fn push_user(&mut self, content: Vec<ContentBlock>) {
        let message = Message::builder().role(ConversationRole::User).set_content(Some(content)).build();
        self.messages.extend(message);
    }
}

impl Turn {
    /// Returns the turn as the content of a transcript message.
    pub(crate) fn content(&self) -> Vec<Value> {
        let text = (!self.text.is_empty()).then(|| json!({"text": self.text}));
        let tool_uses = self.tool_uses.iter().map(|tool_use| {
            json!({"toolUse": {"toolUseId": tool_use.id, "name": tool_use.name, "input": tool_use.input}})
        });
        text.into_iter().chain(tool_uses).collect()
    }
}

fn tokens(usage: &TokenUsage) -> Tokens {
    let count = |tokens: i32| u64::try_from(tokens).unwrap_or_default();
    Tokens {
        input: count(usage.input_tokens),
        output: count(usage.output_tokens),
        cached: count(usage.cache_read_input_tokens.unwrap_or_default()),
    }
}

fn read(message: &Message, stop_reason: &StopReason, tokens: Tokens) -> Turn {
    let texts = message.content.iter().filter_map(|block| block.as_text().ok());
    let tool_uses = message.content.iter().filter_map(|block| block.as_tool_use().ok());
    Turn {
        text: texts.map(String::as_str).collect::<Vec<_>>().join("\n"),
        tool_uses: tool_uses
            .map(|tool_use| ToolUse {
                id: tool_use.tool_use_id.clone(),
                name: tool_use.name.clone(),
                input: to_value(&tool_use.input),
            })
            .collect(),
        stop_reason: stop_reason.as_str().to_owned(),
        tokens,
    }
}

/// Converts a tool for Bedrock, which refuses a blank description but accepts a tool without one.
fn tool(spec: &ToolSpec) -> Option<Tool> {
    let built = ToolSpecification::builder()
        .name(&spec.name)
        .set_description(spec.description.clone().filter(|text| !text.trim().is_empty()))
        .input_schema(ToolInputSchema::Json(to_document(&spec.input_schema)))
        .build();
    built.ok().map(Tool::ToolSpec)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_description_is_left_out() {
        let spec = ToolSpec { name: "add".into(), description: Some(" ".into()), input_schema: json!({}) };
        let Some(Tool::ToolSpec(tool)) = tool(&spec) else { panic!("no tool") };
        assert_eq!(tool.description(), None);
    }

    #[test]
    fn the_oldest_results_are_elided_first_and_the_newest_last() {
        let mut conversation = Conversation::new("s".into(), &[], "q");
        for n in 0..4 {
            // A server's text that looks like our marker is elided like any other text.
            let parts = vec![Part::Text(format!("[result elided: {n}"))];
            let result = ToolResult { id: n.to_string(), parts, is_error: false };
            conversation.push_results(vec![result]);
        }
        let elided = |conversation: &Conversation| -> Vec<bool> {
            let blocks = conversation.messages.iter().flat_map(|message| &message.content);
            let results = blocks.filter_map(|block| block.as_tool_result().ok());
            results
                .map(|result| match result.content.as_slice() {
                    [ToolResultContentBlock::Text(text)] => text.ends_with("to make room]"),
                    _ => false,
                })
                .collect()
        };
        assert!(conversation.elide_oldest_results());
        assert_eq!(elided(&conversation), [true, true, false, false]);
        assert!(conversation.elide_oldest_results());
        assert_eq!(elided(&conversation), [true, true, true, false]);
        assert!(conversation.elide_oldest_results());
        assert!(!conversation.elide_oldest_results(), "all results are elided");
    }

    #[test]
    fn a_guardrail_is_an_id_and_a_version() {
        let parse = |text: &str| text.parse::<Guardrail>().map(|g| (g.id, g.version));
        assert_eq!(parse("gr-1:DRAFT"), Ok(("gr-1".into(), "DRAFT".into())));
        assert_eq!(parse("arn:aws:bedrock:x:1:guardrail/gr-1:2").unwrap().1, "2");
        assert!(parse("gr-1").is_err() && parse(":1").is_err());
    }

    #[test]
    fn without_tools_there_is_no_tool_configuration() {
        assert!(Conversation::new("s".into(), &[], "q").tools.is_none());
    }
}
