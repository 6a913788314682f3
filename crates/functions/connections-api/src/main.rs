//! The function `ConnectionsApi`: users sign in to MCP servers, and delete their sign-ins.

use std::{sync::Arc, time::Duration};

use connections_api::{Api, Config};
use lambda_runtime::{LambdaEvent, service_fn};
use runtime::TimeLimit;
use serde_json::Value;

/// The function's time-out if `FUNCTION_TIMEOUT_SECONDS` is not set.
const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::init_logging(runtime::environment("LOG_LEVEL").as_deref());
    runtime::with_lambda_variables(&runtime::environment)?;
    let limit = &TimeLimit::from_lookup(&runtime::environment, TIMEOUT)?;
    let config = Config::from_vars(&runtime::environment)?;
    let api = Api::new(&runtime::aws_config().await, config);
    let router = &connections_api::router(Arc::new(api));
    let handle = |event: LambdaEvent<Value>| async move {
        connections_api::handle(router, event.payload, limit.time_left(event.context.deadline)).await
    };
    lambda_runtime::run(service_fn(handle)).await
}
