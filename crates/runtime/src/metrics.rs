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
    /// `usage` of the job.
    pub usage: &'a Value,
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
    let calls: u64 =
        run.usage["toolCalls"].as_object().into_iter().flatten().filter_map(|(_, n)| n.as_u64()).sum();
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
        "InputTokens": run.usage["inputTokens"],
        "OutputTokens": run.usage["outputTokens"],
        "CachedTokens": run.usage["cachedTokens"],
        "ModelTurns": run.usage["modelTurns"],
        "ToolCalls": calls,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_that_is_announced_is_there() {
        let usage = json!({"inputTokens": 100, "outputTokens": 10, "cachedTokens": 0, "modelTurns": 2,
            "toolCalls": {"https://a.example": 2, "https://b.example": 1}});
        let run = RunMetrics { agent: "helper", status: "COMPLETED", milliseconds: 7, usage: &usage };
        let line = line(&run, Timestamp::UNIX_EPOCH);
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().unwrap() {
            assert!(line[metric["Name"].as_str().unwrap()].is_u64(), "{metric}");
        }
        assert_eq!(line["ToolCalls"], 3);
        assert_eq!((&line["agent"], &line["status"]), (&"helper".into(), &"COMPLETED".into()));
    }
}
