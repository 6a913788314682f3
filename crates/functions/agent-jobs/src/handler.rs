//! The handler of the function's events: distinguishes those of API Gateway, of resolvers and of the schedule, and passes
//! each on.

use std::{sync::Arc, time::Duration};

use axum::Router;
use edge::lambda;
use lambda_runtime::Diagnostic;
use runtime::emit_gauge;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{api::Api, error::ApiError, http::MARGINS, resolver};

/// Handles one event.
///
/// # Errors
/// For resolvers and the schedule only. An error of an HTTP request becomes an HTTP response.
pub async fn handle(
    api: &Arc<Api>,
    router: &Router,
    event: Value,
    time_left: Duration,
) -> Result<Value, Diagnostic> {
    let end = Instant::now() + time_left;
    if lambda::is_http(&event) {
        Ok(lambda::answer(router, event, end).await)
    } else if event.get("info").is_some() {
        let before_end = |margin| end.checked_sub(margin).unwrap_or_else(Instant::now);
        let answered = resolver::answer(api, &event, before_end(MARGINS.deadline)).await;
        api.settled(before_end(MARGINS.settled)).await;
        answered.map_err(|error| Diagnostic {
            error_type: error.resolver_type().to_owned(),
            error_message: error.resolver_message(),
        })
    } else if event["source"] == "aws.events" {
        sweep(api).await.map_err(diagnostic)
    } else {
        let message = "the event is neither a resolver's, nor API Gateway's, nor the schedule's";
        Err(diagnostic(ApiError::BadRequest(message.to_owned())))
    }
}

/// Sweeps the job table, and emits metrics and a log line about it.
async fn sweep(api: &Api) -> Result<Value, ApiError> {
    let Some(report) = api.sweep().await? else {
        return Ok(json!({"swept": false}));
    };
    let now = runtime::now();
    let submitted = report.oldest_pending.as_deref().and_then(|time| time.parse::<jiff::Timestamp>().ok());
    let age = submitted.map_or(0, |submitted| now.duration_since(submitted).as_secs().max(0));
    emit_gauge("OldestPendingAge", "Seconds", age, now);
    emit_gauge("JobsNotEnded", "Count", i64::try_from(report.failed).unwrap_or(i64::MAX), now);
    tracing::info!(
        jobs.ended = report.ended,
        jobs.started_again = report.to_start.len(),
        jobs.not_ended = report.failed,
        jobs.oldest_pending_s = age,
        "External MCP: unfinished jobs swept"
    );
    Ok(json!({
        "swept": true,
        "ended": report.ended,
        "startedAgain": report.to_start.len(),
        "notEnded": report.failed,
        "oldestPendingSeconds": age,
    }))
}

fn diagnostic(error: ApiError) -> Diagnostic {
    Diagnostic { error_type: error.type_name().to_owned(), error_message: error.to_string() }
}
