//! The records of a run: the messages of its transcript, and its usage.
//!
//! `agent` writes these types, and the jobs API describes them in its OpenAPI document. This crate knows neither.

mod message;
mod usage;

pub use message::{MediaNote, Message, MessageContent, ThrottlingDetails};
pub use usage::Usage;
