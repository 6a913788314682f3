//! `ConnectionsApi`: leads users through signing in to MCP servers, and takes sign-ins back.

mod api;
mod config;
mod error;
mod handler;
mod page;

use lambda_runtime::{LambdaEvent, service_fn};
use serde_json::Value;

use crate::{api::Api, config::Config};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::init_logging(runtime::environment("LOG_LEVEL").as_deref());
    let api = &Api::new(Config::from_vars(&runtime::environment)?).await;
    let handle = |event: LambdaEvent<Value>| async move {
        handler::handle(api, &event.payload, runtime::time_left(event.context.deadline)).await
    };
    lambda_runtime::run(service_fn(handle)).await
}
