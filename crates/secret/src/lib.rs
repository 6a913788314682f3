//! The secret that lists MCP servers, as a source of agents: reading, parsing and editing it.
//!
//! A [`SecretSource`] gives the text, [`parse_secret`] its array, [`parse_entries`] judges each element on its own, and
//! [`SecretAgents`] makes agents of those that name a usable server. One bad entry never hides the others.

mod agents;
mod edit;
mod entry;
mod error;
mod parse;
mod shape;
mod source;

pub use agents::{SecretAgents, agents_of};
pub use edit::{SecretStore, edit_secret, with_entry, without_agent};
pub use entry::{Diagnostic, ParsedEntry, parse_entries};
pub use error::SecretError;
pub use parse::parse_secret;
pub use source::{SecretFile, SecretSource, SecretsManager};
