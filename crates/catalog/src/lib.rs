//! What agents there are.
//!
//! A [`SecretSource`] gives the text of the secret, [`parse_secret`] makes entries of it, each judged
//! on its own, [`Entries`] keeps them for a minute, and [`Catalog`] joins them with the tools that
//! their servers have. One bad entry, one dead server never hides the others.

mod catalog;
mod entries;
mod entry;
mod naming;
mod secret;

pub use catalog::{AgentStatus, Catalog, ListedAgent};
pub use entries::{Agent, Entries, agents_of};
pub use entry::{Diagnostic, ParsedEntry, parse_entries};
pub use naming::{SAMPLE_QUERIES, described};
pub use secret::{
    SecretError, SecretFile, SecretSource, SecretStore, SecretsManager, edit_secret, parse_secret,
    with_entry, without_agent,
};
