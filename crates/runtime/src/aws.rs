//! The common settings of the AWS clients: region and credentials from the environment, the HTTP client, and time-outs.
//!
//! Called by the binaries at cold start. Builds no client of a service.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};

use crate::aws_http::AwsHttp;

/// Time limit for one attempt. DynamoDB, Secrets Manager and Cognito answer in tens of milliseconds or not at all.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(4);
/// Time limit for all attempts of one call together: less than the time-out of any function.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(10);

/// Loads the settings for services that answer at once.
pub async fn aws_config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT);
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(AwsHttp::default())
        .timeout_config(timeouts.build())
        .load()
        .await
}

/// Returns the settings for a slow service, such as a model: one attempt with the time limit `attempt`, without
/// retries. The caller retries itself, so that users can see it.
pub fn slow_service_config(aws: &SdkConfig, attempt: Duration) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(attempt);
    aws.to_builder().timeout_config(timeouts.build()).retry_config(RetryConfig::disabled()).build()
}
