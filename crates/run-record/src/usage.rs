//! What a run used: the `usage` of its job, and the source of its metrics.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

/// What a run used, its sub-agents included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Tokens that the model read, over all turns.
    pub input_tokens: u64,
    /// Tokens that the model wrote, over all turns.
    pub output_tokens: u64,
    /// Those of the tokens read that the model had cached.
    pub cached_tokens: u64,
    /// Turns of the model.
    pub model_turns: u64,
    /// Calls of tools by server, and of agents by their id.
    pub tool_calls: BTreeMap<String, u64>,
    /// Time by step (`connecting`, `listingTools`, `model`, `tools`), in milliseconds. The times of steps that ran at
    /// once are added.
    pub milliseconds: BTreeMap<String, u64>,
}

impl Usage {
    /// The calls of all servers and agents.
    pub fn all_tool_calls(&self) -> u64 {
        self.tool_calls.values().sum()
    }
}
