//! `AgentJobs`: submits, shows, lists and deletes jobs, for resolvers and over HTTP, and sweeps up
//! those that nobody runs any more.

mod api;
mod config;
mod error;
mod handler;
mod http;
mod processor;
mod resolver;

use std::time::Duration;

use lambda_runtime::{LambdaEvent, service_fn};
use runtime::TimeLimit;
use serde_json::Value;

use crate::{api::Api, config::Config};

/// The function's time-out where `FUNCTION_TIMEOUT_SECONDS` does not say it.
const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::init_logging(runtime::environment("LOG_LEVEL").as_deref());
    runtime::with_lambda_variables(&runtime::environment)?;
    let limit = &TimeLimit::from_lookup(&runtime::environment, TIMEOUT)?;
    let api = &Api::new(Config::from_vars(&runtime::environment)?).await;
    let handle = |event: LambdaEvent<Value>| async move {
        handler::handle(api, event.payload, limit.time_left(event.context.deadline)).await
    };
    lambda_runtime::run(service_fn(handle)).await
}
