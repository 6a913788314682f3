//! The tool cache: returns the tool names of many servers without a request to each of them every time.
//!
//! Lists are cached in this process and, if there is a table, in DynamoDB. A list is fresh for the TTL, by wall clock,
//! because the monotonic clock of a frozen process may stand still. A failure does not replace the list: the last good
//! list is returned with the error, and the server is not asked for 30 s, then for twice as long after each further
//! failure, up to 5 minutes. Per server and credential one request is under way at a time.
//!
//! Never shares a list between credentials, never stores a failure outside this process, never follows
//! `notifications/tools/list_changed` (a frozen process cannot receive it), and never extends the TTL because a server
//! asks for it. Called by `catalog`.

use std::{collections::HashMap, sync::Arc, time::Duration};

use auth::{AuthConfig, AuthError, DecidedSignIn};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use moka::{future::Cache, ops::compute::Op};
use tokio::time::{Instant, timeout_at};

use crate::{
    cached_listing::CachedListing,
    connector::Connector,
    error::McpError,
    listing::{Freshness, Listing, ListingStatus},
    server::{McpServer, ServerKey},
    session::Session,
    snapshot::{Snapshot, SnapshotStore},
    tool_names::{PackedToolList, ToolNames, ToolNamesInterner},
};

/// Maximum memory of all cached lists, in bytes. The smallest function has 256 MB. Each user who signs in has lists of
/// their own.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The tool names of all servers. Cheap to clone; clones share the cached lists.
#[derive(Clone)]
pub struct ToolCache {
    connector: Connector,
    snapshots: Option<SnapshotStore>,
    limits: CacheLimits,
    cached: Cache<CacheKey, CachedListing>,
    /// The lists in `cached`. Most users of a server see the same list.
    interner: ToolNamesInterner,
}

/// The time limits of a [`ToolCache`].
#[derive(Debug, Clone, Copy)]
pub struct CacheLimits {
    /// Time for which a list is fresh.
    pub ttl: Duration,
    /// Time limit for asking one server, within the time that the call itself has.
    pub discovery: Duration,
}

/// Key of a cached listing. The fingerprint changes with the credential, so a corrected password is tried at once,
/// without the pause of the wrong one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct CacheKey {
    server: ServerKey,
    fingerprint: [u8; 32],
}

impl ToolCache {
    /// Creates a cache. Without `snapshots` it caches in this process alone.
    pub fn new(connector: Connector, snapshots: Option<SnapshotStore>, limits: CacheLimits) -> Self {
        Self { connector, snapshots, limits, cached: empty_cache(), interner: ToolNamesInterner::default() }
    }

    fn ttl(&self) -> SignedDuration {
        SignedDuration::try_from(self.limits.ttl).unwrap_or(SignedDuration::MAX)
    }

    /// Returns the listing of each server, in the order of `servers`. Asks servers concurrently. No server delays the
    /// result beyond its own time limit or beyond `until`.
    #[tracing::instrument(name = "mcp.discover", skip_all, fields(mcp.servers = servers.len()))]
    pub async fn listings(
        &self,
        servers: &[&McpServer],
        freshness: Freshness,
        now: Timestamp,
        until: Instant,
    ) -> Vec<Listing> {
        let servers = self.with_decided_sign_ins(servers, until).await;
        let snapshots = timeout_at(until, self.load_snapshots(&servers, now)).await.unwrap_or_default();
        let listings = servers.iter().map(|(server, sign_in)| async {
            let snapshot = snapshots.get(&server.key()).cloned();
            let listing = self.listing(server, snapshot, freshness, now, until).await;
            self.stale_if_signed_out(listing, sign_in.as_ref(), until).await.filtered_for(server)
        });
        join_all(listings).await
    }

    /// Decides for each server whose sign-in is used, so that the list of a sign-in that all users share is cached once
    /// and not once per user. Returns the servers unchanged where the vault does not answer.
    async fn with_decided_sign_ins(
        &self,
        servers: &[&McpServer],
        until: Instant,
    ) -> Vec<(McpServer, Option<DecidedSignIn>)> {
        let auths: Vec<&AuthConfig> = servers.iter().map(|server| &server.auth).collect();
        match timeout_at(until, self.connector.sign_in().decide(&auths)).await {
            Ok(Ok(decided)) => servers
                .iter()
                .zip(decided)
                .map(|(server, sign_in)| {
                    (McpServer { auth: sign_in.auth.clone(), ..(*server).clone() }, Some(sign_in))
                })
                .collect(),
            failed => {
                if let Ok(Err(error)) = failed {
                    tracing::warn!(%error, "External MCP: it could not be decided which sign-ins are used, because the vault failed");
                }
                servers.iter().map(|server| ((*server).clone(), None)).collect()
            }
        }
    }

    /// Reads the snapshots of the servers for which this process has no fresh list.
    async fn load_snapshots(
        &self,
        servers: &[(McpServer, Option<DecidedSignIn>)],
        now: Timestamp,
    ) -> HashMap<ServerKey, Snapshot> {
        let Some(snapshots) = &self.snapshots else { return HashMap::new() };
        let mut wanted = Vec::new();
        for (server, _) in servers {
            let cached = self.cached.get(&cache_key(server)).await.unwrap_or_default();
            if !cached.is_sufficient(Freshness::Cached, now, self.ttl()) && !wanted.contains(&server.key()) {
                wanted.push(server.key());
            }
        }
        if wanted.is_empty() { HashMap::new() } else { snapshots.load(&wanted).await }
    }

    /// Returns the cached listing of a server, after asking the server if the cached one is not sufficient.
    async fn listing(
        &self,
        server: &McpServer,
        snapshot: Option<Snapshot>,
        freshness: Freshness,
        now: Timestamp,
        until: Instant,
    ) -> Listing {
        let snapshot = snapshot.map(|snapshot| (self.interner.intern(snapshot.tools), snapshot.fetched_at));
        let update = |entry: Option<moka::Entry<CacheKey, CachedListing>>| async move {
            let cached = entry.map(moka::Entry::into_value).unwrap_or_default().merged_with(snapshot, now);
            if cached.is_sufficient(freshness, now, self.ttl()) {
                return Op::Put(cached);
            }
            let outcome = match self.discover(server, cached.tool_count(), now, until).await {
                Ok(list) => Ok(self.store(server, list, now).await),
                Err(error) => Err(error),
            };
            Op::Put(cached.updated_with(outcome, now))
        };
        let updated = self.cached.entry(cache_key(server)).and_compute_with(update).await;
        updated.into_entry().map(moka::Entry::into_value).unwrap_or_default().into_listing()
    }

    /// Writes a list to the table, for other processes, and returns its tool names.
    async fn store(&self, server: &McpServer, list: PackedToolList, now: Timestamp) -> Arc<ToolNames> {
        match (&self.snapshots, list.packed) {
            (Some(snapshots), Ok(packed)) => snapshots.save(&server.key(), packed, now).await,
            (None, Ok(_)) => {}
            (_, Err(error)) => tracing::warn!(%error, "External MCP: a tool list could not be packed"),
        }
        self.interner.intern(list.tools)
    }

    /// Turns a fresh listing into a stale one if the user has revoked the sign-in since the list was read.
    async fn stale_if_signed_out(
        &self,
        listing: Listing,
        sign_in: Option<&DecidedSignIn>,
        until: Instant,
    ) -> Listing {
        let (ListingStatus::Fresh, Some(sign_in)) = (&listing.status, sign_in) else { return listing };
        match timeout_at(until, self.connector.sign_in().check(sign_in)).await {
            Ok(Err(needed @ AuthError::NeedsSignIn(_))) => {
                Listing { status: ListingStatus::Stale(needed.into()), ..listing }
            }
            // Any other failure of the check shows when the server is asked the next time.
            _ => listing,
        }
    }

    /// Asks a server for its tools. `had` is the number of tools in the last good list.
    async fn discover(
        &self,
        server: &McpServer,
        had: usize,
        now: Timestamp,
        until: Instant,
    ) -> Result<PackedToolList, McpError> {
        let deadline = self.limits.discovery.min(until.saturating_duration_since(Instant::now()));
        let end = Instant::now() + deadline;
        let late = |_| McpError::Timeout { after: deadline };
        let connect = Session::connect(self.connector.clone(), server.clone(), now);
        let session = timeout_at(end, connect).await.map_err(late)??;
        let listed = timeout_at(end, session.pack_all_tools(now)).await.map_err(late);
        // On success and on failure, and before this function returns: a frozen process closes nothing.
        session.close().await;
        let list = listed??;
        if had > 0 && list.tools.names.is_empty() { Err(McpError::Emptied { had }) } else { Ok(list) }
    }
}

fn empty_cache() -> Cache<CacheKey, CachedListing> {
    let weigher = |_: &CacheKey, cached: &CachedListing| cached.memory_bytes();
    Cache::builder().max_capacity(MAX_BYTES).weigher(weigher).build()
}

fn cache_key(server: &McpServer) -> CacheKey {
    CacheKey { server: server.key(), fingerprint: server.auth.fingerprint() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_lists_of_many_users_stay_within_the_memory_limit() {
        let cache = empty_cache();
        let tools = ToolNames { names: vec!["x".repeat(20_000_000)], left_out: Vec::new() };
        let cached = CachedListing::default().updated_with(Ok(Arc::new(tools)), Timestamp::UNIX_EPOCH);
        for user in 0..20 {
            let key = CacheKey { server: "server".to_owned().into(), fingerprint: [user; 32] };
            cache.insert(key, cached.clone()).await;
        }
        cache.run_pending_tasks().await;
        assert!((1..=MAX_BYTES).contains(&cache.weighted_size()), "{}", cache.weighted_size());
        assert_eq!(cache.entry_count(), 3);
    }
}
