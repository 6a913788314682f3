//! How a query is answered: a model that may call an agent's tools until it knows.
//!
//! [`Model`] is Bedrock through Converse and nothing else; [`run_agent`] answers with one agent,
//! [`run_agents`] with several, within a [`Meter`]'s budgets and a deadline; an [`EffectNote`] is consulted before
//! a tool that may change something is called; a [`Transcript`] gathers what happened; an [`Answer`] is what the
//! page can show. What a server says reaches the model as tool descriptions and tool results, never as
//! instructions. A run needs no job: the job processor and the command line both start runs.

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
