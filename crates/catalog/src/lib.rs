//! The catalog: lists the agents of a source with the tools of their servers.
//!
//! An [`AgentSource`] returns the agents; [`Catalog`] adds the tools that `mcp` lists or has cached. A failing server
//! changes the status of its own agent alone. Called by the functions and the command line; `secret` implements
//! [`AgentSource`].

mod catalog;
mod naming;
mod source;

pub use catalog::{AgentStatus, Catalog, ListedAgent};
pub use naming::{SAMPLE_QUERIES, UniqueIds, agent_id, default_name, described};
pub use source::{Agent, AgentSource, SourceError, select};
