//! How a query is answered: a model that may call an agent's tools until it knows.
//!
//! [`Model`] is Bedrock through Converse and nothing else; [`run`] is the loop, within a deadline; a
//! [`Transcript`] gathers what happened; an [`Answer`] is what the page can show. What a server says
//! reaches the model as tool descriptions and tool results, never as instructions.

mod answer;
mod error;
mod model;
mod names;
mod run;
mod tools;
mod transcript;

pub use answer::Answer;
pub use error::RunError;
pub use model::{Model, ModelError};
pub use run::{Run, RunLimits, run};
pub use transcript::Transcript;
