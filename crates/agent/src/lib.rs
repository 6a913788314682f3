//! Runs: a model answers a user's query and calls the tools of one or several agents until it has the answer.
//!
//! [`run_agent`] answers with one agent, [`run_agents`] with several. Both stay within the budgets of a [`Meter`] and a
//! deadline. [`Model`] calls Bedrock's Converse API. The run calls an [`EffectNote`] before each tool that may change
//! something. A [`Transcript`] collects the messages of the run, and an [`Answer`] has a shape that the page shows.
//!
//! Texts of MCP servers reach the model as tool descriptions and tool results, never as instructions. This crate knows
//! no jobs: the job processor and the command line both start runs.

mod answer;
mod context;
mod effect;
mod error;
mod meter;
mod model;
mod names;
mod orchestrator;
mod result;
mod run;
mod tools;
mod transcript;
mod turns;

pub use answer::Answer;
pub use context::{Run, RunLabels, RunLimits};
pub use effect::{EffectNote, EffectfulCall, Permission};
pub use error::{RunError, TimeLimit};
pub use meter::{BudgetExceeded, Budgets, Meter};
pub use model::{Guardrail, GuardrailError, Model, ModelError};
pub use orchestrator::{Colleague, run_agents};
pub use run::run_agent;
pub use transcript::Transcript;
