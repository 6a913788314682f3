//! An MCP client: opens sessions with MCP servers, lists their tools, calls them, and caches the lists.
//!
//! An [`McpServer`] holds the address and the sign-in of a server. A [`Connector`] signs in and opens an MCP client
//! session ([`McpClient`]). A [`Session`] holds one client through a run and signs in again when the server refuses
//! the credential. A [`ToolCache`] returns the tool names of many servers without a request to each of them every time.
//!
//! What a server sends is treated as data: it is limited in size, checked for its form and passed on. This crate never
//! acts on it. Called by `catalog`, `agent`, `backend`, the command line and the conformance client.

mod any_transport;
mod cache;
mod cached_listing;
mod client;
mod connector;
mod error;
mod error_mapping;
mod fit_name;
mod listing;
mod message_memory;
mod schema;
mod selection;
mod server;
mod session;
mod snapshot;
mod sse;
mod tool_list;
mod tool_names;
mod wire;

pub use cache::{CacheLimits, ToolCache};
pub use client::McpClient;
pub use connector::{Connector, OpeningRequest};
pub use error::McpError;
pub use fit_name::fit_name;
pub use listing::{Freshness, Listing, ListingStatus};
pub use rmcp::model::{CallToolResult, ContentBlock, ResourceContents, Tool, ToolAnnotations};
pub use schema::{ArgumentChecker, PatternBudget, ToolSchema};
pub use selection::{GlobError, ToolSelection};
pub use server::{McpServer, ServerKey, TransportKind};
pub use session::Session;
pub use snapshot::SnapshotStore;
pub use tool_list::ToolList;
pub use tool_names::ToolNames;
