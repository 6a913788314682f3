//! The handler of the function's events: passes API Gateway's events to the router.

use std::time::Duration;

use axum::Router;
use edge::lambda;
use lambda_runtime::Diagnostic;
use serde_json::Value;
use tokio::time::Instant;

/// Handles one event. An error of a request becomes an HTTP response.
///
/// # Errors
/// `BadRequest` if the event is not an HTTP request.
pub async fn handle(router: &Router, event: Value, time_left: Duration) -> Result<Value, Diagnostic> {
    if !lambda::is_http(&event) {
        let error_message = "the event is not API Gateway's".to_owned();
        return Err(Diagnostic { error_type: "BadRequest".to_owned(), error_message });
    }
    Ok(lambda::answer(router, event, Instant::now() + time_left).await)
}
