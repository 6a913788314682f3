//! One message of a job's transcript, in the shape that the accelerator's page reads.
//!
//! Messages are written as this type and handed on as they were stored: jobs of the accelerator have other fields.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

/// One message of a transcript.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct Message {
    /// Who speaks: `user`, `assistant`, `tool` or `exception`.
    pub role: &'static str,
    /// What was said.
    pub content: MessageContent,
    /// `message`, `tool_result` or `throttling_exception`.
    pub message_type: &'static str,
    /// The tool that came back, in a `tool_result`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub tool_name: Option<String>,
    /// The images and documents that the tool gave, in a `tool_result`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<MediaNote>,
    /// Why the model is asked again, in a `throttling_exception`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub throttling_details: Option<ThrottlingDetails>,
    /// When it was written, UTC with microseconds: `2026-01-31T09:30:00.000000Z`.
    pub timestamp: String,
    /// The message's number in the transcript, from 1.
    pub sequence_number: usize,
    /// The agent whose message it is, where a job has several.
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

/// An image or a document that a tool gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct MediaNote {
    /// Its media type.
    pub mime_type: String,
    /// Its size in bytes.
    pub bytes: usize,
}

/// Why a model is asked again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ThrottlingDetails {
    /// Bedrock's code of the error.
    pub error_code: String,
    /// What happened.
    pub error_message: String,
    /// The same as `error_code`.
    pub exception_type: String,
    /// The job.
    pub job_id: String,
    /// The user's name.
    pub user_id: String,
}

impl Default for MessageContent {
    fn default() -> Self {
        Self::Parts(Vec::new())
    }
}
