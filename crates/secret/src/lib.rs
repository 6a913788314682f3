//! The secret that lists MCP servers, as a source of agents: it is read, parsed and edited here.
//!
//! A [`SecretSource`] reads the text, [`parse_secret`] splits it into entries, [`parse_entries`] validates each entry on
//! its own by the table [`ENTRY_FIELDS`], and [`SecretAgents`] makes an agent of every valid entry. One bad entry never
//! hides the others.

mod agents;
mod edit;
mod entry;
mod error;
mod parse;
mod shape;
mod source;

pub use agents::{SecretAgents, agents_of};
pub use edit::{SecretStore, edit_secret, with_entry, without_agent};
pub use entry::{
    AuthType, Diagnostic, ENTRY_FIELDS, EntryField, EntryFields, FieldKind, ParsedEntry, parse_entries,
};
pub use error::SecretError;
pub use parse::parse_secret;
pub use source::{SecretFile, SecretSource, SecretsManager};
