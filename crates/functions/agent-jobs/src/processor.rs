//! Starting a job's run: an asynchronous invocation of the processor.

use aws_sdk_lambda::{Client, primitives::Blob, types::InvocationType};
use serde_json::json;

/// The function that runs jobs.
#[derive(Debug, Clone)]
pub(crate) struct Processor {
    client: Client,
    function: String,
}

impl Processor {
    pub(crate) fn new(client: Client, function: String) -> Self {
        Self { client, function }
    }

    /// Hands a job over. To do so twice is harmless: of any number of deliveries one runs it.
    pub(crate) async fn start(&self, user_id: &str, job_id: &str) -> Result<(), String> {
        let event = json!({"userId": user_id, "jobId": job_id}).to_string();
        let invoke = self
            .client
            .invoke()
            .function_name(&self.function)
            .invocation_type(InvocationType::Event)
            .payload(Blob::new(event));
        invoke.send().await.map(drop).map_err(|error| aws_kit::reason(&error))
    }
}
