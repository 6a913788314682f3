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

use auth::AuthError;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use moka::{future::Cache, ops::compute::Op};
use tokio::time::{Instant, timeout_at};

use crate::{
    connection::ToolList,
    connector::Connector,
    error::McpError,
    server::{McpServer, ServerKey},
    session::Session,
    snapshot::{KEPT, Snapshot, SnapshotStore},
};

/// The first pause after a failure: long enough not to hammer, short enough to see a fix soon.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// The longest pause after repeated failures.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(300);
/// What all lists together may take of a function's memory, the smallest of which is 256 MB. Users who sign in
/// themselves have lists of their own.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// What a slot takes without a list: so many bound what removed servers leave behind.
const SLOT_BYTES: u32 = 4_096;
/// How much memory a list takes for each byte of its JSON: measured, 22 MB for 2.7 MB.
const MEMORY_PER_BYTE: usize = 8;

/// Whether what is kept will do.
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
    /// The tools; empty if none were ever seen.
    pub list: Arc<ToolList>,
    /// How they are known.
    pub status: ListingStatus,
}

impl Listing {
    /// What the entry offers of it: what is kept is the whole, for every entry of the server.
    fn of(self, server: &McpServer) -> Self {
        if server.tools.is_all() {
            return self;
        }
        Self { list: Arc::new(server.tools.of((*self.list).clone())), status: self.status }
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

/// The tool lists of all servers. Cheap to clone; clones share what they keep.
#[derive(Clone)]
pub struct ToolCache {
    connector: Connector,
    snapshots: Option<SnapshotStore>,
    limits: CacheLimits,
    slots: Cache<SlotKey, Slot>,
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

#[derive(Clone, Default)]
struct Slot {
    good: Option<Kept>,
    failure: Option<Failure>,
}

#[derive(Clone)]
struct Kept {
    list: Arc<ToolList>,
    /// What the list takes of memory.
    bytes: u32,
    fetched_at: Timestamp,
}

impl Kept {
    fn new(list: ToolList, fetched_at: Timestamp) -> Self {
        let mut length = ByteCount(0);
        // What cannot be written as JSON did not come as JSON: this does not fail.
        let _ = serde_json::to_writer(&mut length, &list.tools);
        let bytes = u32::try_from(length.0.saturating_mul(MEMORY_PER_BYTE)).unwrap_or(u32::MAX);
        Self { list: Arc::new(list), bytes, fetched_at }
    }
}

/// Counts what is written to it.
struct ByteCount(usize);

impl std::io::Write for ByteCount {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Clone)]
struct Failure {
    error: McpError,
    at: Timestamp,
    pause: SignedDuration,
}

impl ToolCache {
    /// A cache within `limits`; without `snapshots` it is in the process alone.
    pub fn new(connector: Connector, snapshots: Option<SnapshotStore>, limits: CacheLimits) -> Self {
        Self { connector, snapshots, limits, slots: slots() }
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
        let snapshots = timeout_at(until, self.load_snapshots(servers, now)).await.unwrap_or_default();
        let asked = servers.iter().map(|server| {
            let snapshot = snapshots.get(&server.key()).cloned();
            self.listing(server, snapshot, freshness, now, until)
        });
        join_all(asked).await
    }

    /// The snapshots of those servers about which this process knows nothing fresh.
    async fn load_snapshots(&self, servers: &[&McpServer], now: Timestamp) -> HashMap<ServerKey, Snapshot> {
        let Some(snapshots) = &self.snapshots else { return HashMap::new() };
        let mut wanted = Vec::new();
        for server in servers {
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
        let settle = |entry: Option<moka::Entry<SlotKey, Slot>>| async move {
            let known = entry.map(moka::Entry::into_value).unwrap_or_default().with(snapshot, now);
            if known.is_settled(freshness, now, self.ttl()) {
                return Op::Put(known);
            }
            let outcome = self.discover(server, known.had(), now, until).await;
            if let (Ok(list), Some(snapshots)) = (&outcome, &self.snapshots) {
                let snapshot = Snapshot { list: list.clone(), fetched_at: now };
                snapshots.save(&server.key(), &snapshot).await;
            }
            Op::Put(known.after(outcome, now))
        };
        let settled = self.slots.entry(slot_key(server)).and_compute_with(settle).await;
        let listing = settled.into_entry().map(moka::Entry::into_value).unwrap_or_default().listing();
        self.still_signed_in(listing, server, until).await.of(server)
    }

    /// A fresh list is no reason to say that all is well where a user has taken the sign-in back.
    async fn still_signed_in(&self, listing: Listing, server: &McpServer, until: Instant) -> Listing {
        if !matches!(listing.status, ListingStatus::Fresh) {
            return listing;
        }
        match timeout_at(until, self.connector.sign_in().check(&server.auth)).await {
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
    ) -> Result<ToolList, McpError> {
        let deadline = self.limits.discovery.min(until.saturating_duration_since(Instant::now()));
        let end = Instant::now() + deadline;
        let late = |_| McpError::Timeout { after: deadline };
        let connect = Session::connect(self.connector.clone(), server.clone(), now);
        let session = timeout_at(end, connect).await.map_err(late)??;
        let listed = timeout_at(end, session.list_all_tools(now)).await.map_err(late);
        // Whatever came of it, and before the answer: a frozen process closes nothing.
        session.close().await;
        let list = listed??;
        if had > 0 && list.tools.is_empty() { Err(McpError::Emptied { had }) } else { Ok(list) }
    }
}

fn slots() -> Cache<SlotKey, Slot> {
    let weigh =
        |_: &SlotKey, slot: &Slot| slot.good.as_ref().map_or(0, |good| good.bytes).saturating_add(SLOT_BYTES);
    Cache::builder().max_capacity(MAX_BYTES).weigher(weigh).build()
}

fn slot_key(server: &McpServer) -> SlotKey {
    SlotKey { server: server.key(), fingerprint: server.auth.fingerprint() }
}

impl Slot {
    /// Takes in what another environment has written, and lets go of what is too old to be good.
    fn with(mut self, snapshot: Option<Snapshot>, now: Timestamp) -> Self {
        // Clocks differ a little: nothing was fetched in this call's future.
        let arrived = snapshot.map(|snapshot| {
            Kept::new(snapshot.list, snapshot.fetched_at.min(now - SignedDuration::from_millis(1)))
        });
        let is_newer =
            |arrived: &Kept| self.good.as_ref().is_none_or(|good| good.fetched_at < arrived.fetched_at);
        if let Some(arrived) = arrived.filter(is_newer) {
            self.failure.take_if(|failure| failure.at < arrived.fetched_at);
            self.good = Some(arrived);
        }
        self.good.take_if(|good| good.fetched_at + KEPT < now);
        self
    }

    /// Whether the server need not be asked.
    fn is_settled(&self, freshness: Freshness, now: Timestamp, ttl: SignedDuration) -> bool {
        match (freshness, &self.failure, &self.good) {
            (_, None, None) => false,
            // Only a user can help, and may have by now: it is looked into the store each time.
            (Freshness::Cached, Some(failure), _) if failure.error.needs_sign_in() => false,
            (Freshness::Cached, Some(failure), _) => now < failure.at + failure.pause,
            (Freshness::Cached, None, Some(good)) => now.duration_since(good.fetched_at) < ttl,
            // Another entry for the same server may have asked within this very call.
            (Freshness::Forced, Some(failure), _) => failure.at >= now,
            (Freshness::Forced, None, Some(good)) => good.fetched_at >= now,
        }
    }

    fn after(self, outcome: Result<ToolList, McpError>, now: Timestamp) -> Self {
        match outcome {
            Ok(list) => Self { good: Some(Kept::new(list, now)), failure: None },
            Err(error) => {
                let pause = self.failure.map_or(FIRST_PAUSE, |last| (last.pause * 2).min(LONGEST_PAUSE));
                Self { good: self.good, failure: Some(Failure { error, at: now, pause }) }
            }
        }
    }

    /// How many tools the last known good list holds.
    fn had(&self) -> usize {
        self.good.as_ref().map_or(0, |good| good.list.tools.len())
    }

    fn listing(self) -> Listing {
        let known = self.good.is_some();
        let status = match self.failure {
            None => ListingStatus::Fresh,
            Some(failure) if known => ListingStatus::Stale(failure.error),
            Some(failure) => ListingStatus::Unavailable(failure.error),
        };
        Listing { list: self.good.map(|good| good.list).unwrap_or_default(), status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: SignedDuration = SignedDuration::from_secs(900);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn list(names: &[&str]) -> ToolList {
        let tools = names.iter().map(|name| serde_json::json!({"name": name, "inputSchema": {}}));
        ToolList { tools: serde_json::from_value(tools.collect()).unwrap(), left_out: Vec::new() }
    }

    fn timeout() -> Result<ToolList, McpError> {
        Err(McpError::Timeout { after: Duration::from_secs(8) })
    }

    fn settled(slot: &Slot, now: Timestamp) -> bool {
        slot.is_settled(Freshness::Cached, now, TTL)
    }

    #[test]
    fn a_list_is_fresh_for_its_ttl() {
        let slot = Slot::default().after(Ok(list(&["a"])), at(0));
        assert!(settled(&slot, at(899)));
        assert!(!settled(&slot, at(900)));
        assert!(matches!(slot.listing().status, ListingStatus::Fresh));
    }

    #[tokio::test]
    async fn the_lists_of_many_users_stay_within_their_memory() {
        let slots = slots();
        let large = list(&["x".repeat(2_700_000).as_str()]);
        for user in 0..20 {
            let key = SlotKey { server: "server".to_owned().into(), fingerprint: [user; 32] };
            slots.insert(key, Slot::default().after(Ok(large.clone()), at(0))).await;
        }
        slots.run_pending_tasks().await;
        assert!((1..=MAX_BYTES).contains(&slots.weighted_size()), "{}", slots.weighted_size());
        assert_eq!(slots.entry_count(), 3);
    }

    #[test]
    fn failures_pause_for_30_seconds_doubling_to_five_minutes() {
        let mut slot = Slot::default();
        let mut now = 0;
        for pause in [30, 60, 120, 240, 300, 300] {
            slot = slot.after(timeout(), at(now));
            assert!(settled(&slot, at(now + pause - 1)), "{pause}");
            assert!(!settled(&slot, at(now + pause)), "{pause}");
            now += pause;
        }
        slot = slot.after(Ok(list(&["a"])), at(now));
        slot = slot.after(timeout(), at(now + 900));
        assert!(!settled(&slot, at(now + 930)), "a success starts the pauses anew");
    }

    #[test]
    fn the_last_known_good_list_is_given_with_the_reason() {
        let slot = Slot::default().after(Ok(list(&["a"])), at(0)).after(timeout(), at(900));
        let listing = slot.listing();
        assert_eq!(listing.list.tools[0].name, "a");
        assert!(matches!(listing.status, ListingStatus::Stale(McpError::Timeout { .. })));
        let never = Slot::default().after(timeout(), at(0)).listing();
        assert!(matches!(never.status, ListingStatus::Unavailable(_)));
    }

    #[test]
    fn forced_asks_again_but_only_once_in_one_call() {
        let slot = Slot::default().after(Ok(list(&["a"])), at(0));
        assert!(!slot.is_settled(Freshness::Forced, at(1), TTL));
        assert!(slot.is_settled(Freshness::Forced, at(0), TTL));
        let failed = slot.after(timeout(), at(1));
        assert!(!failed.is_settled(Freshness::Forced, at(2), TTL), "a pause is bypassed");
    }

    #[test]
    fn a_newer_snapshot_replaces_what_is_kept_and_an_old_one_is_let_go() {
        let snapshot = |second| Some(Snapshot { list: list(&["b"]), fetched_at: at(second) });
        let failed = Slot::default().after(timeout(), at(10));
        assert!(settled(&failed.clone().with(snapshot(20), at(30)), at(30)));
        assert!(matches!(failed.clone().with(snapshot(20), at(30)).listing().status, ListingStatus::Fresh));
        assert!(matches!(failed.with(snapshot(5), at(30)).listing().status, ListingStatus::Stale(_)));
        let week = 7 * 24 * 3600;
        assert_eq!(Slot::default().with(snapshot(0), at(week + 1)).had(), 0);
        assert!(!settled(&Slot::default().with(snapshot(9_999), at(0)), at(900)), "a clock ahead of ours");
    }
}
