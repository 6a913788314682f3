//! `AgentProcessor`: runs one job: the query of a user to an agent.

mod config;
mod handler;
mod run;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

use crate::{config::Config, handler::Context};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::init_logging(runtime::environment("LOG_LEVEL").as_deref());
    let context = &Context::new(Config::from_vars(&runtime::environment)?).await;
    let handle = |event: LambdaEvent<Value>| async move {
        handler::handle(context, event.payload, runtime::time_left(event.context.deadline)).await
    };
    lambda_runtime::run(service_fn(handle)).await
}
