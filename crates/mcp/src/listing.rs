//! What is known of one server's tools, and how.

use std::sync::Arc;

use crate::{error::McpError, known_tools::KnownTools, server::McpServer};

/// Whether a list that is known will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// A list within its TTL will do, and a server in its pause is left alone.
    Cached,
    /// Every server is asked, once.
    Forced,
}

/// What is known of one server's tools.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The tools; none if none were ever seen.
    pub known: Arc<KnownTools>,
    /// How they are known.
    pub status: ListingStatus,
}

impl Listing {
    /// What the entry offers of it: what is kept is the whole, for every entry of the server.
    pub(crate) fn of(self, server: &McpServer) -> Self {
        if server.tools.is_all() {
            return self;
        }
        Self { known: Arc::new(server.tools.of_known((*self.known).clone())), status: self.status }
    }
}

/// How a listing is known.
#[derive(Debug, Clone)]
pub enum ListingStatus {
    /// From the server, within the TTL.
    Fresh,
    /// The last known good ones; the server fails.
    Stale(McpError),
    /// None are known; the server fails.
    Unavailable(McpError),
}
