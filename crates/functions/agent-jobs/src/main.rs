//! `AgentJobs`: submits, shows, lists and deletes jobs, for resolvers and over HTTP, and sweeps up
//! those that nobody runs any more.

mod api;
mod config;
mod error;
mod handler;
mod http;
mod processor;
mod resolver;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

use crate::{api::Api, config::Config};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::init_logging(runtime::environment("LOG_LEVEL").as_deref());
    let api = &Api::new(Config::from_vars(&runtime::environment)?).await;
    let handle = |event: LambdaEvent<Value>| async move {
        handler::handle(api, event.payload, runtime::time_left(event.context.deadline)).await
    };
    lambda_runtime::run(service_fn(handle)).await
}
