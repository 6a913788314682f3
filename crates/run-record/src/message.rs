//! One message of a job's transcript, in the shape that the accelerator's page reads.
//!
//! This type is for writing only. The jobs API returns stored messages as they are, because messages of the
//! accelerator's own jobs have other fields.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// One message of a transcript.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Message {
    /// The author of the message: `user`, `assistant`, `tool` or `exception`.
    pub role: &'static str,
    /// The content.
    pub content: MessageContent,
    /// The type of the message: `message`, `tool_result` or `throttling_exception`.
    pub message_type: &'static str,
    /// The name of the tool that was called, in a `tool_result`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tool_name: Option<String>,
    /// The images and documents in the tool's result, in a `tool_result`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<MediaNote>,
    /// The reason why the request to the model is repeated, in a `throttling_exception`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub throttling_details: Option<ThrottlingDetails>,
    /// The time of the message, UTC with microseconds: `2026-01-31T09:30:00.000000Z`.
    pub timestamp: String,
    /// The message's number in the transcript, from 1.
    pub sequence_number: usize,
    /// The id of the agent that the message belongs to, if the job has several agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub agent_id: Option<String>,
}

/// The content of a message.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum MessageContent {
    /// Plain text.
    Text(String),
    /// Parts: `{text}`, or `{toolUse: {toolUseId, name, input}}`.
    Parts(Vec<Value>),
}

/// An image or a document in a tool's result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MediaNote {
    /// The media type.
    pub mime_type: String,
    /// The size in bytes.
    pub bytes: usize,
}

/// The reason why a request to the model is repeated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ThrottlingDetails {
    /// Bedrock's error code.
    pub error_code: String,
    /// Bedrock's error message.
    pub error_message: String,
    /// The same as `error_code`.
    pub exception_type: String,
    /// The job's id.
    pub job_id: String,
    /// The user's name.
    pub user_id: String,
}

impl Default for MessageContent {
    fn default() -> Self {
        Self::Parts(Vec::new())
    }
}
