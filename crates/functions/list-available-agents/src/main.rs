//! The function `ListAvailableAgents`: lists the agents with their tools.

mod handler;

use std::time::Duration;

use backend::BackendConfig;
use lambda_runtime::{LambdaEvent, service_fn};
use runtime::TimeLimit;
use serde_json::Value;

use crate::handler::Context;

/// The function's time-out if `FUNCTION_TIMEOUT_SECONDS` is not set.
const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::init_logging(runtime::environment("LOG_LEVEL").as_deref());
    runtime::with_lambda_variables(&runtime::environment)?;
    let limit = &TimeLimit::from_lookup(&runtime::environment, TIMEOUT)?;
    let context = &Context::new(&BackendConfig::from_lookup(&runtime::environment)?).await;
    let handle = |event: LambdaEvent<Value>| async move {
        handler::handle(context, event.payload, limit.time_left(event.context.deadline)).await
    };
    lambda_runtime::run(service_fn(handle)).await
}
