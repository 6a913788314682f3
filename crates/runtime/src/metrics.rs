//! CloudWatch metrics, as a log line in the embedded metric format: no call, no client.
//!
//! Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use jiff::Timestamp;
use serde_json::{Value, json};

/// The namespace of all metrics.
const NAMESPACE: &str = "McpAgents";

/// What one run cost.
#[derive(Debug, Clone)]
pub struct RunMetrics<'a> {
    /// The agent asked, or `several`.
    pub agent: &'a str,
    /// How the job ended.
    pub status: &'a str,
    /// From claim to end.
    pub milliseconds: u64,
    /// Tokens that the model read.
    pub input_tokens: u64,
    /// Tokens that the model wrote.
    pub output_tokens: u64,
    /// Those of the tokens read that the model had cached.
    pub cached_tokens: u64,
    /// Turns of the model.
    pub model_turns: u64,
    /// Calls of tools and agents.
    pub tool_calls: u64,
}

/// Logs a run's metrics, by agent and status and by status alone.
pub fn emit(run: &RunMetrics<'_>, now: Timestamp) {
    println!("{}", line(run, now));
}

/// Logs a single value without dimensions.
pub fn emit_gauge(name: &str, unit: &str, value: i64, now: Timestamp) {
    let line = json!({
        "_aws": {
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [[]],
                "Metrics": [{"Name": name, "Unit": unit}],
            }],
        },
        name: value,
    });
    println!("{line}");
}

fn line(run: &RunMetrics<'_>, now: Timestamp) -> Value {
    let metric = |name: &str, unit: &str| json!({"Name": name, "Unit": unit});
    json!({
        "_aws": {
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [{
                "Namespace": NAMESPACE,
                "Dimensions": [["agent", "status"], ["status"]],
                "Metrics": [
                    metric("Runs", "Count"),
                    metric("Duration", "Milliseconds"),
                    metric("InputTokens", "Count"),
                    metric("OutputTokens", "Count"),
                    metric("CachedTokens", "Count"),
                    metric("ModelTurns", "Count"),
                    metric("ToolCalls", "Count"),
                ],
            }],
        },
        "agent": run.agent,
        "status": run.status,
        "Runs": 1,
        "Duration": run.milliseconds,
        "InputTokens": run.input_tokens,
        "OutputTokens": run.output_tokens,
        "CachedTokens": run.cached_tokens,
        "ModelTurns": run.model_turns,
        "ToolCalls": run.tool_calls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_that_is_announced_is_there() {
        let run = RunMetrics {
            agent: "helper",
            status: "COMPLETED",
            milliseconds: 7,
            input_tokens: 100,
            output_tokens: 10,
            cached_tokens: 0,
            model_turns: 2,
            tool_calls: 3,
        };
        let line = line(&run, Timestamp::UNIX_EPOCH);
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap() {
            assert!(line[metric["Name"].as_str().unwrap()].is_u64(), "{metric}");
        }
        assert_eq!(line["ToolCalls"], 3);
        assert_eq!((&line["agent"], &line["status"]), (&"helper".into(), &"COMPLETED".into()));
    }
}
