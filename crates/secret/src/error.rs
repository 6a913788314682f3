//! The errors of reading and editing the secret. None quotes the secret's content, except a server's URL.

use std::borrow::Cow;

use catalog::SourceError;

/// The reason why the secret could not be read or written. Each variant has a remedy of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The secret does not exist.
    #[error(
        "the secret {id} does not exist: create it holding [] or set EXTERNAL_MCP_AGENTS_SECRET to the name or ARN of the one to use"
    )]
    NotFound {
        /// Its name, ARN or path.
        id: String,
    },
    /// Reading it was refused.
    #[error(
        "reading the secret {id} was refused with {code}: allow this role secretsmanager:GetSecretValue on it, and kms:Decrypt on its key if it has one of its own"
    )]
    NotAllowed {
        /// Its name, ARN or path.
        id: String,
        /// The error's code.
        code: String,
    },
    /// Secrets Manager did not answer, or the file could not be read. The only error that may pass by itself.
    #[error("the secret {id} could not be read ({reason}): check the network of this function and try again")]
    Unreachable {
        /// Its name, ARN or path.
        id: String,
        /// The reason, without content of the secret.
        reason: String,
    },
    /// Writing it was refused.
    #[error(
        "writing the secret {id} was refused with {code}: this needs secretsmanager:PutSecretValue and secretsmanager:UpdateSecretVersionStage on it, or a file that you may write"
    )]
    NotWritten {
        /// Its name, ARN or path.
        id: String,
        /// The error's code.
        code: String,
    },
    /// Another process has written it since this one read it.
    #[error("the secret {id} was changed by another process at the same time: look at it, and try again")]
    Changed {
        /// Its name, ARN or path.
        id: String,
    },
    /// No entry has this agent.
    #[error("the secret holds no entry that makes the agent {agent}")]
    NoAgent {
        /// The agent's id.
        agent: String,
    },
    /// The secret holds binary data.
    #[error("the secret {id} holds binary data: store the JSON array as its text (SecretString)")]
    NotText {
        /// Its name, ARN or path.
        id: String,
    },
    /// The text is not JSON.
    #[error("the secret is not JSON: {problem} at line {line}, column {column}: {remedy}")]
    NotJson {
        /// The parser's message.
        problem: String,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// The remedy.
        remedy: &'static str,
    },
    /// The text is JSON, but not an array.
    #[error(
        "the secret holds {found} at line {line}, column {column}, where an array of entries belongs: {remedy}"
    )]
    NotAnArray {
        /// The kind of value that the secret holds.
        found: &'static str,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// The remedy.
        remedy: Cow<'static, str>,
    },
}

impl From<SecretError> for SourceError {
    fn from(error: SecretError) -> Self {
        Self::Unavailable { kind: error.error_type(), message: error.to_string() }
    }
}

impl SecretError {
    /// Returns the `errorType` of a Lambda error, which callers match on.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "SecretNotFound",
            Self::NotAllowed { .. } => "SecretNotAllowed",
            Self::Unreachable { .. } => "SecretUnreachable",
            Self::NotWritten { .. } => "SecretNotWritten",
            Self::Changed { .. } => "SecretChanged",
            Self::NoAgent { .. } => "NoAgent",
            Self::NotText { .. } => "SecretNotText",
            Self::NotJson { .. } => "SecretNotJson",
            Self::NotAnArray { .. } => "SecretNotAnArray",
        }
    }
}
