//! `ListAvailableAgents`: which agents there are, with what is known of their tools.

mod handler;

use lambda_runtime::{LambdaEvent, service_fn};
use runtime::BackendConfig;
use serde_json::Value;

use crate::handler::Context;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    runtime::init_logging(runtime::environment("LOG_LEVEL").as_deref());
    let context = &Context::new(&BackendConfig::from_lookup(&runtime::environment)?).await;
    let handle = |event: LambdaEvent<Value>| async move {
        handler::handle(context, event.payload, runtime::time_left(event.context.deadline)).await
    };
    lambda_runtime::run(service_fn(handle)).await
}
