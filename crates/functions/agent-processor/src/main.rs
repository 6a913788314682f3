//! The function `AgentProcessor`: runs one job, the query of a user to one or several agents.

mod config;
mod context;
mod handler;
mod hold;
mod job_note;
mod run;

use std::time::Duration;

use lambda_runtime::{LambdaEvent, service_fn};
use runtime::TimeLimit;
use serde_json::Value;

use crate::{config::Config, context::Context};

/// The function's time-out if `FUNCTION_TIMEOUT_SECONDS` is not set.
const TIMEOUT: Duration = Duration::from_secs(900);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::init_logging(runtime::environment("LOG_LEVEL").as_deref());
    runtime::with_lambda_variables(&runtime::environment)?;
    let limit = &TimeLimit::from_lookup(&runtime::environment, TIMEOUT)?;
    let context = &Context::new(Config::from_vars(&runtime::environment)?).await;
    let handle = |event: LambdaEvent<Value>| async move {
        handler::handle(context, event.payload, limit.time_left(event.context.deadline)).await
    };
    lambda_runtime::run(service_fn(handle)).await
}
