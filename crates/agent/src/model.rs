//! Bedrock through Converse: one turn of a model.
//!
//! The one adapter to models; the SDK's types do not leave this file. Keeps the conversation as Bedrock
//! gave it, so that blocks this crate does not read (reasoning with its signature) go back unchanged.
//! Runs no tools and loops over nothing ([`crate::run`] does); retries are the client's own.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html>

use aws_sdk_bedrockruntime::{
    Client,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    operation::converse::ConverseError,
    types::{
        ContentBlock, ConversationRole, Message, StopReason, SystemContentBlock, Tool, ToolConfiguration,
        ToolInputSchema, ToolResultBlock, ToolResultContentBlock, ToolResultStatus, ToolSpecification,
    },
};
use aws_smithy_types::{Document, Number};
use serde_json::{Map, Value, json};

/// A model behind Bedrock. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Model {
    client: Client,
    model_id: String,
}

/// Why a model gave no answer, by what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Too many requests or tokens, after the client's own retries.
    #[error("Bedrock throttles this model ({code}): try again later, or ask for a higher quota")]
    Throttled {
        /// Bedrock's code.
        code: String,
    },
    /// Bedrock refused the call.
    #[error("Bedrock refused the call with {code} ({message}): {}", remedy(code))]
    Refused {
        /// Bedrock's code.
        code: String,
        /// Bedrock's own words.
        message: String,
    },
    /// Bedrock was not reached, or failed.
    #[error(
        "Bedrock did not answer ({reason}): try again; if it stays, check the network and region of this function"
    )]
    Unreachable {
        /// What was said.
        reason: String,
    },
    /// The model stopped without words.
    #[error("the model ended without an answer ({reason})")]
    Silent {
        /// Bedrock's stop reason.
        reason: String,
    },
}

/// One conversation with a model: what it is told, what it may call, what was said.
#[derive(Debug, Clone)]
pub(crate) struct Conversation {
    system: String,
    tools: Option<ToolConfiguration>,
    messages: Vec<Message>,
}

/// A tool as a model sees it.
#[derive(Debug, Clone)]
pub(crate) struct ToolSpec {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) input_schema: Value,
}

/// What a model said in one turn.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    /// The text it gave, blocks joined.
    pub(crate) text: String,
    /// The tools it asks for; the run ends when there are none.
    pub(crate) tool_uses: Vec<ToolUse>,
    /// Why it stopped, in Bedrock's word.
    pub(crate) stop_reason: String,
}

/// A tool that a model asks for.
#[derive(Debug, Clone)]
pub(crate) struct ToolUse {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) input: Value,
}

/// What came of a tool that a model asked for.
#[derive(Debug, Clone)]
pub(crate) struct ToolResult {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) is_error: bool,
}

impl Model {
    /// The model or inference profile with this id.
    pub fn new(client: Client, model_id: String) -> Self {
        Self { client, model_id }
    }

    /// Lets the model speak once; what it says joins the conversation.
    #[tracing::instrument(name = "agent.turn", skip_all, fields(model.id = self.model_id))]
    pub(crate) async fn next_turn(&self, conversation: &mut Conversation) -> Result<Turn, ModelError> {
        let answer = self
            .client
            .converse()
            .model_id(&self.model_id)
            .system(SystemContentBlock::Text(conversation.system.clone()))
            .set_messages(Some(conversation.messages.clone()))
            .set_tool_config(conversation.tools.clone())
            .send()
            .await
            .map_err(explain)?;
        let stop_reason = answer.stop_reason;
        let message = answer.output.and_then(|output| output.as_message().ok().cloned());
        let message = message
            .filter(|message| !message.content.is_empty())
            .ok_or_else(|| ModelError::Silent { reason: stop_reason.as_str().to_owned() })?;
        let turn = read(&message, &stop_reason);
        conversation.messages.push(message);
        Ok(turn)
    }
}

impl Conversation {
    /// A conversation in which the user has just asked `query`.
    pub(crate) fn new(system: String, tools: &[ToolSpec], query: &str) -> Self {
        let specs: Vec<Tool> = tools.iter().filter_map(tool).collect();
        let tools = ToolConfiguration::builder().set_tools(Some(specs)).build().ok();
        let tools = tools.filter(|config| !config.tools.is_empty());
        let mut conversation = Self { system, tools, messages: Vec::new() };
        conversation.push_user(vec![ContentBlock::Text(query.to_owned())]);
        conversation
    }

    /// Answers the tools that the model asked for in its last turn, all of them.
    pub(crate) fn push_results(&mut self, results: Vec<ToolResult>) {
        let blocks = results.into_iter().filter_map(|result| {
            let status = if result.is_error { ToolResultStatus::Error } else { ToolResultStatus::Success };
            // Bedrock refuses blank text.
            let text = if result.text.trim().is_empty() { "(no content)".to_owned() } else { result.text };
            let block = ToolResultBlock::builder()
                .tool_use_id(result.id)
                .content(ToolResultContentBlock::Text(text))
                .status(status);
            block.build().ok().map(ContentBlock::ToolResult)
        });
        self.push_user(blocks.collect());
    }

    fn push_user(&mut self, content: Vec<ContentBlock>) {
        let message = Message::builder().role(ConversationRole::User).set_content(Some(content)).build();
        self.messages.extend(message);
    }
}

impl Turn {
    /// The turn as the transcript keeps it.
    pub(crate) fn content(&self) -> Vec<Value> {
        let text = (!self.text.is_empty()).then(|| json!({"text": self.text}));
        let tool_uses = self.tool_uses.iter().map(|tool_use| {
            json!({"toolUse": {"toolUseId": tool_use.id, "name": tool_use.name, "input": tool_use.input}})
        });
        text.into_iter().chain(tool_uses).collect()
    }
}

fn read(message: &Message, stop_reason: &StopReason) -> Turn {
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
    }
}

/// A tool for Bedrock, which wants an object schema and a description that is not blank, or none.
fn tool(spec: &ToolSpec) -> Option<Tool> {
    let mut schema = spec.input_schema.clone();
    if let Value::Object(fields) = &mut schema {
        fields.insert("type".to_owned(), "object".into());
    }
    let built = ToolSpecification::builder()
        .name(&spec.name)
        .set_description(spec.description.clone().filter(|text| !text.trim().is_empty()))
        .input_schema(ToolInputSchema::Json(to_document(&schema)))
        .build();
    built.ok().map(Tool::ToolSpec)
}

fn explain(error: SdkError<ConverseError>) -> ModelError {
    let code = error.code().map(str::to_owned);
    let message = error.message().unwrap_or("no message").chars().take(300).collect();
    match (code, error.as_service_error()) {
        (Some(code), Some(ConverseError::ThrottlingException(_))) => ModelError::Throttled { code },
        (
            Some(code),
            Some(ConverseError::ServiceUnavailableException(_) | ConverseError::InternalServerException(_)),
        ) => ModelError::Unreachable { reason: code },
        (Some(code), _) => ModelError::Refused { code, message },
        (None, _) => ModelError::Unreachable { reason: DisplayErrorContext(error).to_string() },
    }
}

fn remedy(code: &str) -> &'static str {
    match code {
        "AccessDeniedException" => {
            "enable access to the model in the Bedrock console of this region, and allow this role bedrock:InvokeModel on it"
        }
        "ResourceNotFoundException" => "check BEDROCK_MODEL_ID and that the model exists in this region",
        "ValidationException" => {
            "check BEDROCK_MODEL_ID; many models are called through an inference profile, whose id begins with the region's group (us., eu., apac., global.)"
        }
        "ModelNotReadyException" | "ModelTimeoutException" | "ModelErrorException" => {
            "the model itself failed; try again, or use another one"
        }
        _ => "look the code up in Bedrock's Converse reference",
    }
}

fn to_document(value: &Value) -> Document {
    match value {
        Value::Null => Document::Null,
        Value::Bool(bool) => Document::Bool(*bool),
        Value::Number(number) => Document::Number(match (number.as_u64(), number.as_i64()) {
            (Some(positive), _) => Number::PosInt(positive),
            (None, Some(negative)) => Number::NegInt(negative),
            (None, None) => Number::Float(number.as_f64().unwrap_or_default()),
        }),
        Value::String(text) => Document::String(text.clone()),
        Value::Array(list) => Document::Array(list.iter().map(to_document).collect()),
        Value::Object(fields) => {
            Document::Object(fields.iter().map(|(name, value)| (name.clone(), to_document(value))).collect())
        }
    }
}

fn to_value(document: &Document) -> Value {
    match document {
        Document::Null => Value::Null,
        Document::Bool(bool) => (*bool).into(),
        Document::Number(Number::PosInt(number)) => (*number).into(),
        Document::Number(Number::NegInt(number)) => (*number).into(),
        Document::Number(Number::Float(number)) => (*number).into(),
        Document::String(text) => text.as_str().into(),
        Document::Array(list) => list.iter().map(to_value).collect(),
        Document::Object(fields) => {
            let fields: Map<_, _> =
                fields.iter().map(|(name, value)| (name.clone(), to_value(value))).collect();
            fields.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_survives_the_way_to_bedrock_and_back() {
        let value = json!({"a": [1, -2, 2.5, true, null, "x"], "b": {"c": u64::MAX}});
        assert_eq!(to_value(&to_document(&value)), value);
    }

    #[test]
    fn a_tool_has_an_object_schema_and_no_blank_description() {
        let spec = ToolSpec {
            name: "add".into(),
            description: Some(" ".into()),
            input_schema: json!({"properties": {"a": {"type": "number"}}}),
        };
        let Some(Tool::ToolSpec(tool)) = tool(&spec) else { panic!("no tool") };
        assert_eq!(tool.description(), None);
        let Some(ToolInputSchema::Json(schema)) = tool.input_schema else { panic!("no schema") };
        assert_eq!(to_value(&schema)["type"], "object");
    }

    #[test]
    fn without_tools_there_is_no_tool_configuration() {
        assert!(Conversation::new("s".into(), &[], "q").tools.is_none());
    }
}
