//! One connection to one MCP server, and what is remembered of its tools.
//!
//! An [`McpServer`] says where and how; a [`Connector`] opens a [`Connection`]; a [`Session`] keeps
//! one through a run and signs in again once when the server refuses; [`ToolCache`] answers what
//! tools a server has without asking it each time. Whatever a server says is data: it is bounded,
//! checked for form and handed on, never acted upon.

mod any_transport;
mod cache;
mod connection;
mod connector;
mod error;
mod explain;
mod fit_name;
mod known_tools;
mod listing;
mod message_memory;
mod schema;
mod selection;
mod server;
mod session;
mod slot;
mod snapshot;
mod sse;
mod tool_list;
mod wire;

pub use cache::{CacheLimits, ToolCache};
pub use connection::Connection;
pub use connector::{Connector, Lifecycle};
pub use error::McpError;
pub use fit_name::fit_name;
pub use known_tools::KnownTools;
pub use listing::{Freshness, Listing, ListingStatus};
pub use rmcp::model::{CallToolResult, ContentBlock, ResourceContents, Tool, ToolAnnotations};
pub use schema::{ArgumentChecker, PatternBudget, ToolSchema};
pub use selection::{GlobError, ToolSelection};
pub use server::{McpServer, ServerKey, TransportKind};
pub use session::Session;
pub use snapshot::SnapshotStore;
pub use tool_list::ToolList;
