//! Starts the run of a job: invokes the job processor's function asynchronously. Does not wait for the run.

use aws_sdk_lambda::{Client, primitives::Blob, types::InvocationType};
use serde_json::json;

/// The job processor's function.
#[derive(Debug, Clone)]
pub(crate) struct Processor {
    client: Client,
    function: String,
}

impl Processor {
    pub(crate) fn new(client: Client, function: String) -> Self {
        Self { client, function }
    }

    /// Starts the run of a job. A second start does no harm: only one of the runs wins the claim. The error is AWS's
    /// error code, or the SDK's error.
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
