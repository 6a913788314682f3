//! How a query is answered: a model that may call an agent's tools until it knows.
//!
//! [`Model`] is Bedrock through Converse and nothing else; [`run_agent`] answers with one agent,
//! [`run_agents`] with several, within a [`Meter`]'s budgets and a deadline; [`hold`] keeps the job while
//! that goes; a [`Transcript`] gathers what happened; an [`Answer`] is what the page can show. What a
//! server says reaches the model as tool descriptions and tool results, never as instructions.

mod answer;
mod error;
mod hold;
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
pub use error::{RunError, TimeLimit};
pub use hold::hold;
pub use meter::{BudgetExceeded, Budgets, Meter};
pub use model::{Guardrail, GuardrailError, Model, ModelError};
pub use orchestrator::{Colleague, run_agents};
pub use run::{Run, RunLimits, run_agent};
pub use transcript::Transcript;
