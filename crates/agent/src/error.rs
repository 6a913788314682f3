//! Why a run ended without an answer.

use std::time::Duration;

use catalog::SecretError;
use mcp::McpError;

use crate::model::ModelError;

/// Why a run ended without an answer: what the job's `error` says. One line, without secrets.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The job names no agent.
    #[error("no agentIds provided: at least one agent id is required")]
    NoAgent,
    /// The job names several agents.
    #[error("this version answers with one agent a job, and the job names {count}: submit one job per agent")]
    SeveralAgents {
        /// How many.
        count: usize,
    },
    /// The job asks nothing.
    #[error("the query is empty")]
    NoQuery,
    /// There is no such agent.
    #[error("there is no agent {id}: {}", existing(known))]
    UnknownAgent {
        /// The id that the job names.
        id: String,
        /// The ids that exist.
        known: Vec<String>,
    },
    /// The agents could not be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The agent's server gave no tools.
    #[error("agent {id}: {error}")]
    Server {
        /// The agent's id.
        id: String,
        /// Why.
        #[source]
        error: McpError,
    },
    /// The model gave no answer.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model went on for too many turns.
    #[error("the model was still calling tools after {turns} turns")]
    TooManyTurns {
        /// How many it had.
        turns: usize,
    },
    /// The invocation's time ran out.
    #[error("ran out of time after {} s in {step}", after.as_secs())]
    OutOfTime {
        /// How long the run had.
        after: Duration,
        /// What it was waiting for.
        step: String,
    },
}

fn existing(known: &[String]) -> String {
    match known {
        [] => "there are none at all; add one to the secret".to_owned(),
        known => format!("there are {}", known.join(", ")),
    }
}
