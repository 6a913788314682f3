//! The catalog: lists the agents of a source with the tools that their servers have.
//!
//! An [`AgentSource`] gives agents, [`Catalog`] joins them with what is known of their servers' tools. One server that
//! fails never hides the others.

mod catalog;
mod naming;
mod source;

pub use catalog::{AgentStatus, Catalog, ListedAgent};
pub use naming::{SAMPLE_QUERIES, UniqueIds, agent_id, default_name, described};
pub use source::{Agent, AgentSource, SourceError, select};
