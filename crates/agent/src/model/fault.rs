//! Why a model gave no answer, told by Bedrock's codes and by what to do about it.

use aws_sdk_bedrockruntime::{
    error::{ProvideErrorMetadata, SdkError},
    operation::converse::ConverseError,
};

/// Why a model gave no answer, by what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// Too many requests or tokens.
    #[error("Bedrock throttles this model ({code}): try again later, or ask for a higher quota")]
    Throttled {
        /// Bedrock's code.
        code: String,
        /// Bedrock's own words.
        message: String,
    },
    /// What was said no longer fits into the model's context.
    #[error(
        "the conversation no longer fits into the model's context, even without its tool results: ask for less, or use a model with a larger one"
    )]
    ContextOverflow,
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
        "Bedrock did not answer ({reason}): try again; if it stays, check the network and the AWS region"
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

impl ModelError {
    /// Whether the model may have refused an image or a document: not every model takes them, and Bedrock has no
    /// code for that.
    pub(crate) fn may_be_about_media(&self) -> bool {
        matches!(self, Self::Refused { code, .. } if code == "ValidationException")
    }

    /// Whether asking again may help.
    pub(crate) fn is_passing(&self) -> bool {
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

/// Bedrock has no code for it; these are the words of the models behind it.
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
