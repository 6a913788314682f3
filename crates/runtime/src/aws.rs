//! The AWS clients' common settings: region and credentials from the environment, and time-outs.

use std::time::Duration;

use aws_config::{BehaviorVersion, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};

use crate::aws_http::AwsHttp;

/// One try. DynamoDB, Secrets Manager and Cognito answer in tens of milliseconds or not at all.
const ATTEMPT: Duration = Duration::from_secs(4);
/// All tries together: less than any function's shortest useful life.
const OPERATION: Duration = Duration::from_secs(10);

/// Settings for the services that answer at once.
pub async fn aws_config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT).operation_timeout(OPERATION);
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(AwsHttp::default())
        .timeout_config(timeouts.build())
        .load()
        .await
}

/// Settings for a service that takes its time, a model above all: one try may last for `attempt`, and
/// there is one, since the caller retries where people can see it.
pub fn patient(aws: &SdkConfig, attempt: Duration) -> SdkConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(attempt);
    aws.to_builder().timeout_config(timeouts.build()).retry_config(RetryConfig::disabled()).build()
}
