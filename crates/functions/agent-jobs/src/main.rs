//! The function `AgentJobs`: submits, shows, lists and deletes jobs, for resolvers and over HTTP, and ends jobs that no
//! process runs any more.

// As in the library: futures are nested deeper than the default limit of 128.
#![recursion_limit = "256"]

use std::{sync::Arc, time::Duration};

use agent_jobs::{Api, Config};
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
    let api = &Arc::new(Api::new(&runtime::aws_config().await, config));
    let router = &agent_jobs::router(api.clone());
    let handle = |event: LambdaEvent<Value>| async move {
        agent_jobs::handle(api, router, event.payload, limit.time_left(event.context.deadline)).await
    };
    lambda_runtime::run(service_fn(handle)).await
}
