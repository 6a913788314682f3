//! The errors of reading and editing the secret. None quotes the secret's content but a server's URL.

use std::borrow::Cow;

use catalog::SourceError;

/// The reason why the secret gives no entries, or was not written; variants by what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is no such secret.
    #[error(
        "the secret {id} does not exist: create it holding [] or set EXTERNAL_MCP_AGENTS_SECRET to the name or ARN of the one to use"
    )]
    NotFound {
        /// Its name, ARN or path.
        id: String,
    },
    /// It may not be read.
    #[error(
        "reading the secret {id} was refused with {code}: allow this role secretsmanager:GetSecretValue on it, and kms:Decrypt on its key if it has one of its own"
    )]
    NotAllowed {
        /// Its name, ARN or path.
        id: String,
        /// The error's code.
        code: String,
    },
    /// Secrets Manager did not answer, or the file could not be read. The only passing fault.
    #[error("the secret {id} could not be read ({reason}): check the network of this function and try again")]
    Unreachable {
        /// Its name, ARN or path.
        id: String,
        /// What was said, without content.
        reason: String,
    },
    /// It may not be written.
    #[error(
        "writing the secret {id} was refused with {code}: this needs secretsmanager:PutSecretValue and secretsmanager:UpdateSecretVersionStage on it, or a file that you may write"
    )]
    NotWritten {
        /// Its name, ARN or path.
        id: String,
        /// The error's code.
        code: String,
    },
    /// Somebody else has written it since it was read.
    #[error("the secret {id} was changed by somebody else at the same time: look at it, and try again")]
    Changed {
        /// Its name, ARN or path.
        id: String,
    },
    /// No entry makes this agent.
    #[error("the secret holds no entry that makes the agent {agent}")]
    NoAgent {
        /// The agent's id.
        agent: String,
    },
    /// It holds something else than text.
    #[error("the secret {id} holds binary data: store the JSON array as its text (SecretString)")]
    NotText {
        /// Its name, ARN or path.
        id: String,
    },
    /// The text is not JSON.
    #[error("the secret is not JSON: {problem} at line {line}, column {column}: {remedy}")]
    NotJson {
        /// What is wrong there.
        problem: String,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// How to mend it.
        remedy: &'static str,
    },
    /// The text is JSON, but not an array.
    #[error(
        "the secret holds {found} at line {line}, column {column}, where an array of entries belongs: {remedy}"
    )]
    NotAnArray {
        /// What kind of value it holds.
        found: &'static str,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// How to mend it.
        remedy: Cow<'static, str>,
    },
}

impl From<SecretError> for SourceError {
    fn from(error: SecretError) -> Self {
        Self::Unavailable { kind: error.error_type(), message: error.to_string() }
    }
}

impl SecretError {
    /// The error's type as a Lambda answers it; others match on it.
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
