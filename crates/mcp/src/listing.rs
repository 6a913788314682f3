//! The types that [`crate::ToolCache`] takes and returns: the freshness that the caller wants, and a server's listing.

use std::sync::Arc;

use crate::{error::McpError, server::McpServer, tool_names::ToolNames};

/// The use of cached lists in a call of [`crate::ToolCache::listings`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// A list within its TTL is returned from the cache, and a failing server is not asked during its pause.
    Cached,
    /// Every server is asked once.
    Forced,
}

/// The tool names of one server, and the state of the list.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The names of the tools; empty if no list was ever read.
    pub tools: Arc<ToolNames>,
    /// The state of the tool list.
    pub status: ListingStatus,
}

impl Listing {
    /// Returns the listing with those tools alone that the entry offers. The cache holds all tools of the server, for
    /// every entry that names the server.
    pub(crate) fn filtered_for(self, server: &McpServer) -> Self {
        if server.tools.is_all() {
            return self;
        }
        Self { tools: Arc::new(server.tools.filter_names((*self.tools).clone())), status: self.status }
    }
}

/// The state of the tool list in a listing.
#[derive(Debug, Clone)]
pub enum ListingStatus {
    /// Read from the server within the TTL.
    Fresh,
    /// The last good list; the server has failed since, with this error.
    Stale(McpError),
    /// No list is available; the server failed with this error.
    Unavailable(McpError),
}
