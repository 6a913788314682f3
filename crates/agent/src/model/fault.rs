//! Errors of a model, made from Bedrock's error codes, each with a remedy in its message.
//!
//! Retries nothing: [`crate::turns`] decides by [`ModelError::is_transient`].

use aws_sdk_bedrockruntime::{
    error::{ProvideErrorMetadata, SdkError},
    operation::converse::ConverseError,
};

/// An error of a model. The variants differ in what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Bedrock throttles: too many requests or tokens.
    #[error("Bedrock throttles this model ({code}): try again later, or ask for a higher quota")]
    Throttled {
        /// Bedrock's error code.
        code: String,
        /// Bedrock's error message.
        message: String,
    },
    /// The conversation is larger than the model's context window.
    #[error(
        "the conversation no longer fits into the model's context, even without its tool results: ask for less, or use a model with a larger one"
    )]
    ContextOverflow,
    /// Bedrock refused the call.
    #[error("Bedrock refused the call with {code} ({message}): {}", remedy(code))]
    Refused {
        /// Bedrock's error code.
        code: String,
        /// Bedrock's error message.
        message: String,
    },
    /// Bedrock was not reached, or failed.
    #[error(
        "Bedrock did not answer ({reason}): try again; if it stays, check the network and the AWS region"
    )]
    Unreachable {
        /// Bedrock's error code, or the SDK's error.
        reason: String,
    },
    /// The model stopped without any text or tool call.
    #[error("the model ended without an answer ({reason})")]
    Silent {
        /// Bedrock's stop reason.
        reason: String,
    },
}

impl ModelError {
    /// Returns true if the model may have refused an image or a document. Not every model accepts them, and Bedrock has
    /// no error code for that.
    pub(crate) fn may_be_about_media(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "ValidationException")
    }

    /// Returns true if the same request may succeed later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Throttled { .. } | Self::Unreachable { .. })
    }
}

pub(super) fn explain(error: SdkError<ConverseError>) -> ModelError {
    let code = error.code().map(str::to_owned);
    let message: String = error.message().unwrap_or("no message").chars().take(300).collect();
    let Some(code) = code else {
        return ModelError::Unreachable { reason: aws_kit::reason(&error) };
    };
    match code.as_str() {
        "ThrottlingException" | "ServiceQuotaExceededException" | "TooManyRequestsException" => {
            ModelError::Throttled { code, message }
        }
        "ServiceUnavailableException"
        | "InternalServerException"
        | "ModelNotReadyException"
        | "ModelTimeoutException"
        | "InternalFailure" => ModelError::Unreachable { reason: code },
        "ValidationException" if is_overflow(&message) => ModelError::ContextOverflow,
        _ => ModelError::Refused { code, message },
    }
}

/// Returns true if the message says that the context window is too small. Bedrock has no error code for that, so this
/// looks for the words that the providers of the models use.
fn is_overflow(message: &str) -> bool {
    let message = message.to_lowercase();
    [
        "too long",
        "too many input tokens",
        "context length",
        "context window",
        "maximum context",
        "exceeds the maximum number of input tokens",
    ]
    .iter()
    .any(|words| message.contains(words))
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
        "ModelErrorException" => "the model itself failed; try again, or use another one",
        _ => "look the code up in Bedrock's Converse reference",
    }
}
