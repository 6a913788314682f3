//! What a run leaves behind for its readers: the messages of its transcript, and what it used.
//!
//! `agent` writes these types, the jobs API describes them in its OpenAPI document. Knows of neither.

mod message;
mod usage;

pub use message::{MediaNote, Message, MessageContent, ThrottlingDetails};
pub use usage::Usage;
