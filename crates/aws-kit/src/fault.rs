//! The reason why a call to AWS failed, in one line without content.
//!
//! The SDKs' own texts are either "service error" or, with all sources, the raw response with its body.

use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// Returns true if DynamoDB refused a write because its condition does not hold.
pub fn is_condition_failed<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    error.code() == Some("ConditionalCheckFailedException")
}

/// Returns the error code of AWS's answer; without one, how far the call got, such as `timed out` or `HTTP status 502`.
pub fn reason<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> String {
    let answered = |raw: &HttpResponse| format!("HTTP status {}", raw.status().as_u16());
    match error {
        SdkError::ServiceError(service) => {
            service.err().code().map_or_else(|| answered(service.raw()), str::to_owned)
        }
        SdkError::ResponseError(response) => format!("an unreadable answer, {}", answered(response.raw())),
        SdkError::TimeoutError(_) => "timed out".to_owned(),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => "timed out".to_owned(),
        SdkError::DispatchFailure(failure) if failure.is_io() => "no connection".to_owned(),
        SdkError::DispatchFailure(_) => "the request could not be sent".to_owned(),
        _ => "the request could not be made: are region and credentials set?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_runtime_api::{client::result::ConnectorError, http::StatusCode};
    use aws_smithy_types::{body::SdkBody, error::ErrorMetadata};

    use super::*;

    #[derive(Debug)]
    struct Service(ErrorMetadata);

    impl ProvideErrorMetadata for Service {
        fn meta(&self) -> &ErrorMetadata {
            &self.0
        }
    }

    fn answer() -> HttpResponse {
        HttpResponse::new(StatusCode::try_from(413).unwrap(), SdkBody::from("canary"))
    }

    fn check(error: SdkError<Service, HttpResponse>, expected: &str) {
        assert_eq!(reason(&error), expected);
    }

    #[test]
    fn a_reason_is_the_error_code_or_how_far_the_call_got() {
        let coded = Service(ErrorMetadata::builder().code("Throttled").message("canary").build());
        check(SdkError::service_error(coded, answer()), "Throttled");
        let bare = Service(ErrorMetadata::builder().build());
        check(SdkError::service_error(bare, answer()), "HTTP status 413");
        check(SdkError::timeout_error("canary"), "timed out");
        check(SdkError::dispatch_failure(ConnectorError::io("canary".into())), "no connection");
        check(SdkError::response_error("canary", answer()), "an unreadable answer, HTTP status 413");
    }
}
