//! What tools each server has, without asking it each time.
//!
//! Kept in the process, and behind that in DynamoDB if there is a table. A list is fresh for the TTL,
//! by wall clock: a frozen process's monotonic clock may stand still. A failure is never taken for the
//! truth: the last known good list is given with the reason, and the server is left alone for 30 s,
//! then twice as long each time up to 5 minutes. One discovery at a time per server and credential.
//!
//! What it never does: share a list between credentials, keep a failure beyond this process, follow
//! `notifications/tools/list_changed` (nothing listens in a frozen process), extend the TTL because a
//! server asks for it.

use std::{collections::HashMap, sync::Arc, time::Duration};

use auth::{AuthConfig, AuthError, DecidedSignIn};
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use moka::{future::Cache, ops::compute::Op};
use tokio::time::{Instant, timeout_at};

use crate::{
    connector::Connector,
    error::McpError,
    known_tools::{KnownTools, PackedList, SharedLists},
    listing::{Freshness, Listing, ListingStatus},
    server::{McpServer, ServerKey},
    session::Session,
    slot::Slot,
    snapshot::{Snapshot, SnapshotStore},
};

/// What all lists together may take of a function's memory, the smallest of which is 256 MB. Users who sign in
/// themselves have lists of their own.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// The tool lists of all servers. Cheap to clone; clones share what they keep.
#[derive(Clone)]
pub struct ToolCache {
    connector: Connector,
    snapshots: Option<SnapshotStore>,
    limits: CacheLimits,
    slots: Cache<SlotKey, Slot>,
    /// The lists in the slots: users of one server mostly see the same.
    lists: SharedLists,
}

/// How long lists are fresh, and how long one server may take.
#[derive(Debug, Clone, Copy)]
pub struct CacheLimits {
    /// How long a list is taken as known.
    pub ttl: Duration,
    /// How long one server may hold up a call, within what the call itself has.
    pub discovery: Duration,
}

/// The fingerprint lets a mended password be tried at once, without the pause of the wrong one.
#[derive(Clone, PartialEq, Eq, Hash)]
struct SlotKey {
    server: ServerKey,
    fingerprint: [u8; 32],
}

impl ToolCache {
    /// A cache within `limits`; without `snapshots` it is in the process alone.
    pub fn new(connector: Connector, snapshots: Option<SnapshotStore>, limits: CacheLimits) -> Self {
        Self { connector, snapshots, limits, slots: slots(), lists: SharedLists::default() }
    }

    fn ttl(&self) -> SignedDuration {
        SignedDuration::try_from(self.limits.ttl).unwrap_or(SignedDuration::MAX)
    }

    /// What is known of each server's tools, in the order given; servers are asked concurrently, and
    /// none holds the answer up past its own limit or past `until`.
    #[tracing::instrument(name = "mcp.discover", skip_all, fields(mcp.servers = servers.len()))]
    pub async fn listings(
        &self,
        servers: &[&McpServer],
        freshness: Freshness,
        now: Timestamp,
        until: Instant,
    ) -> Vec<Listing> {
        let servers = self.decided(servers, until).await;
        let snapshots = timeout_at(until, self.load_snapshots(&servers, now)).await.unwrap_or_default();
        let asked = servers.iter().map(|(server, sign_in)| async {
            let snapshot = snapshots.get(&server.key()).cloned();
            let listing = self.listing(server, snapshot, freshness, now, until).await;
            self.still_signed_in(listing, sign_in.as_ref(), until).await.of(server)
        });
        join_all(asked).await
    }

    /// The servers, with the owners of their sign-ins decided: what a sign-in that everybody shares can see is known
    /// once, and not once for each caller. The servers as they are where the vault does not answer.
    async fn decided(
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
                    tracing::warn!(%error, "External MCP: whose sign-ins are used could not be decided");
                }
                servers.iter().map(|server| ((*server).clone(), None)).collect()
            }
        }
    }

    /// The snapshots of those servers about which this process knows nothing fresh.
    async fn load_snapshots(
        &self,
        servers: &[(McpServer, Option<DecidedSignIn>)],
        now: Timestamp,
    ) -> HashMap<ServerKey, Snapshot> {
        let Some(snapshots) = &self.snapshots else { return HashMap::new() };
        let mut wanted = Vec::new();
        for (server, _) in servers {
            let slot = self.slots.get(&slot_key(server)).await.unwrap_or_default();
            if !slot.is_settled(Freshness::Cached, now, self.ttl()) && !wanted.contains(&server.key()) {
                wanted.push(server.key());
            }
        }
        if wanted.is_empty() { HashMap::new() } else { snapshots.load(&wanted).await }
    }

    async fn listing(
        &self,
        server: &McpServer,
        snapshot: Option<Snapshot>,
        freshness: Freshness,
        now: Timestamp,
        until: Instant,
    ) -> Listing {
        let arrived = snapshot.map(|snapshot| (self.lists.share(snapshot.known), snapshot.fetched_at));
        let settle = |entry: Option<moka::Entry<SlotKey, Slot>>| async move {
            let slot = entry.map(moka::Entry::into_value).unwrap_or_default().with(arrived, now);
            if slot.is_settled(freshness, now, self.ttl()) {
                return Op::Put(slot);
            }
            let outcome = match self.discover(server, slot.had(), now, until).await {
                Ok(list) => Ok(self.keep(server, list, now).await),
                Err(error) => Err(error),
            };
            Op::Put(slot.after(outcome, now))
        };
        let settled = self.slots.entry(slot_key(server)).and_compute_with(settle).await;
        settled.into_entry().map(moka::Entry::into_value).unwrap_or_default().listing()
    }

    /// Writes a list to the table, for other environments; what is known of it stays.
    async fn keep(&self, server: &McpServer, list: PackedList, now: Timestamp) -> Arc<KnownTools> {
        match (&self.snapshots, list.packed) {
            (Some(snapshots), Ok(packed)) => snapshots.save(&server.key(), packed, now).await,
            (None, Ok(_)) => {}
            (_, Err(error)) => tracing::warn!(%error, "External MCP: a tool list could not be packed"),
        }
        self.lists.share(list.known)
    }

    /// A fresh list is no reason to say that all is well where a user has taken the sign-in back.
    async fn still_signed_in(
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
            // What cannot be told now is told when the server is asked.
            _ => listing,
        }
    }

    async fn discover(
        &self,
        server: &McpServer,
        had: usize,
        now: Timestamp,
        until: Instant,
    ) -> Result<PackedList, McpError> {
        let deadline = self.limits.discovery.min(until.saturating_duration_since(Instant::now()));
        let end = Instant::now() + deadline;
        let late = |_| McpError::Timeout { after: deadline };
        let connect = Session::connect(self.connector.clone(), server.clone(), now);
        let session = timeout_at(end, connect).await.map_err(late)??;
        let listed = timeout_at(end, session.pack_all_tools(now)).await.map_err(late);
        // Whatever came of it, and before the answer: a frozen process closes nothing.
        session.close().await;
        let list = listed??;
        if had > 0 && list.known.names.is_empty() { Err(McpError::Emptied { had }) } else { Ok(list) }
    }
}

fn slots() -> Cache<SlotKey, Slot> {
    Cache::builder().max_capacity(MAX_BYTES).weigher(|_: &SlotKey, slot: &Slot| slot.bytes()).build()
}

fn slot_key(server: &McpServer) -> SlotKey {
    SlotKey { server: server.key(), fingerprint: server.auth.fingerprint() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_lists_of_many_users_stay_within_their_memory() {
        let slots = slots();
        let known = KnownTools { names: vec!["x".repeat(20_000_000)], left_out: Vec::new() };
        let slot = Slot::default().after(Ok(Arc::new(known)), Timestamp::UNIX_EPOCH);
        for user in 0..20 {
            let key = SlotKey { server: "server".to_owned().into(), fingerprint: [user; 32] };
            slots.insert(key, slot.clone()).await;
        }
        slots.run_pending_tasks().await;
        assert!((1..=MAX_BYTES).contains(&slots.weighted_size()), "{}", slots.weighted_size());
        assert_eq!(slots.entry_count(), 3);
    }
}
