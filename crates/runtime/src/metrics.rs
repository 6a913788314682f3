//! CloudWatch metrics, written as log lines in the embedded metric format. Makes no call to AWS.
//!
//! Called by `agent-processor` for runs and by `agent-jobs` for the sweep.
//!
//! Source: <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use jiff::Timestamp;
use serde_json::{Value, json};

/// The namespace of all metrics.
const NAMESPACE: &str = "McpAgents";

/// The metrics of one run.
#[derive(Debug, Clone)]
pub struct RunMetrics<'a> {
    /// Id of the agent, or `several`.
    pub agent: &'a str,
    /// Final status of the job.
    pub status: &'a str,
    /// Duration from claim to end, in milliseconds.
    pub milliseconds: u64,
    /// Number of tokens that the model read.
    pub input_tokens: u64,
    /// Number of tokens that the model wrote.
    pub output_tokens: u64,
    /// Number of tokens read that came from the model's cache.
    pub cached_tokens: u64,
    /// Number of turns of the model.
    pub model_turns: u64,
    /// Number of calls of tools and agents.
    pub tool_calls: u64,
}

/// Logs the metrics of a run, with the dimensions agent and status, and with status alone.
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
    fn every_declared_metric_has_a_value() {
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
