//! The state of the function, made once at cold start.

use std::time::Duration;

use agent::Model;
use backend::Backend;
use catalog::Catalog;
use jobs::JobTable;

use crate::config::Config;

/// Time limit for one turn of a model. Long answers of large models take minutes.
const MODEL_TURN: Duration = Duration::from_secs(300);

/// The state of one process of the function.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) backend: Backend,
    pub(crate) catalog: Catalog,
    pub(crate) model: Model,
    pub(crate) jobs: JobTable,
}

impl Context {
    /// Creates the clients. Sends no request.
    pub(crate) async fn new(config: Config) -> Self {
        let aws = runtime::aws_config().await;
        let bedrock = aws_sdk_bedrockruntime::Client::new(&runtime::slow_service_config(&aws, MODEL_TURN));
        let backend = Backend::new(&aws, &config.backend, config.tool_timeout);
        Self {
            catalog: backend.catalog(&aws),
            model: Model::new(bedrock, config.model_id.clone(), config.guardrail.clone()),
            jobs: JobTable::new(aws_sdk_dynamodb::Client::new(&aws), config.agent_table.clone()),
            backend,
            config,
        }
    }
}
