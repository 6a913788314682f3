//! The usage of a run: the `usage` of its job, and the source of its metrics.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// The usage of a run, its sub-agents included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Input tokens of all model turns.
    pub input_tokens: u64,
    /// Output tokens of all model turns.
    pub output_tokens: u64,
    /// The part of the input tokens that came from the model's prompt cache.
    pub cached_tokens: u64,
    /// Number of model turns.
    pub model_turns: u64,
    /// Number of tool calls, by the URL of the MCP server or the id of the agent.
    pub tool_calls: BTreeMap<String, u64>,
    /// Time by step (`connecting`, `listingTools`, `model`, `tools`), in milliseconds. The times of steps that ran at
    /// once are added up.
    pub milliseconds: BTreeMap<String, u64>,
}

impl Usage {
    /// Returns the number of calls of all servers and agents.
    pub fn all_tool_calls(&self) -> u64 {
        self.tool_calls.values().sum()
    }
}
