//! The cached state of one server under one credential: the last good list of tools, and the last failure.
//!
//! Decides whether the server has to be asked again. Sends no request itself: [`crate::ToolCache`] does, and holds one
//! [`CachedListing`] per server and credential.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::{
    error::McpError,
    listing::{Freshness, Listing, ListingStatus},
    snapshot::RETENTION,
    tool_names::ToolNames,
};

/// Pause after the first failure: long enough to spare the server, short enough to notice a repair soon.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// Longest pause after repeated failures.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(300);
/// Memory of a cached listing without its list, in bytes. Limits how many cached listings of removed servers can
/// remain.
const BASE_BYTES: u32 = 4_096;

/// The last good list and the last failure of one server under one credential.
#[derive(Clone, Default)]
pub(crate) struct CachedListing {
    last_good: Option<GoodList>,
    /// The last failure; `None` once a later request succeeded.
    last_failure: Option<Failure>,
}

#[derive(Clone)]
struct GoodList {
    tools: Arc<ToolNames>,
    fetched_at: Timestamp,
}

#[derive(Clone)]
struct Failure {
    error: McpError,
    at: Timestamp,
    /// Time after `at` during which the server is not asked again.
    pause: SignedDuration,
}

impl CachedListing {
    /// Returns the memory of this cached listing, in bytes. A list that is shared counts for each cached listing.
    pub(crate) fn memory_bytes(&self) -> u32 {
        let list = self.last_good.as_ref().map_or(0, |good| good.tools.memory_bytes());
        u32::try_from(list).unwrap_or(u32::MAX).saturating_add(BASE_BYTES)
    }

    /// Adds a list that another process fetched and wrote to the table, and drops a list older than [`RETENTION`].
    pub(crate) fn merged_with(
        mut self,
        snapshot: Option<(Arc<ToolNames>, Timestamp)>,
        now: Timestamp,
    ) -> Self {
        // The clocks of processes differ a little: a list cannot have been fetched after this call began.
        let snapshot = snapshot.map(|(tools, fetched_at)| GoodList {
            tools,
            fetched_at: fetched_at.min(now - SignedDuration::from_millis(1)),
        });
        let is_newer = |snapshot: &GoodList| {
            self.last_good.as_ref().is_none_or(|good| good.fetched_at < snapshot.fetched_at)
        };
        if let Some(snapshot) = snapshot.filter(is_newer) {
            self.last_failure.take_if(|failure| failure.at < snapshot.fetched_at);
            self.last_good = Some(snapshot);
        }
        self.last_good.take_if(|good| good.fetched_at + RETENTION < now);
        self
    }

    /// Returns true if this can be returned to the caller without a request to the server.
    pub(crate) fn is_sufficient(&self, freshness: Freshness, now: Timestamp, ttl: SignedDuration) -> bool {
        match (freshness, &self.last_failure, &self.last_good) {
            (_, None, None) => false,
            // The user may have signed in meanwhile: the vault is read again each time.
            (Freshness::Cached, Some(failure), _) if failure.error.needs_sign_in() => false,
            (Freshness::Cached, Some(failure), _) => now < failure.at + failure.pause,
            (Freshness::Cached, None, Some(good)) => now.duration_since(good.fetched_at) < ttl,
            // Another entry for the same server may have asked it within this call.
            (Freshness::Forced, Some(failure), _) => failure.at >= now,
            (Freshness::Forced, None, Some(good)) => good.fetched_at >= now,
        }
    }

    /// Returns the state after the server was asked, with `outcome` as its result.
    pub(crate) fn updated_with(self, outcome: Result<Arc<ToolNames>, McpError>, now: Timestamp) -> Self {
        match outcome {
            Ok(tools) => Self { last_good: Some(GoodList { tools, fetched_at: now }), last_failure: None },
            Err(error) => {
                let pause = self.last_failure.map_or(FIRST_PAUSE, |last| (last.pause * 2).min(LONGEST_PAUSE));
                Self { last_good: self.last_good, last_failure: Some(Failure { error, at: now, pause }) }
            }
        }
    }

    /// Returns the number of tools in the last good list.
    pub(crate) fn tool_count(&self) -> usize {
        self.last_good.as_ref().map_or(0, |good| good.tools.names.len())
    }

    /// Returns the listing that callers get.
    pub(crate) fn into_listing(self) -> Listing {
        let has_list = self.last_good.is_some();
        let status = match self.last_failure {
            None => ListingStatus::Fresh,
            Some(failure) if has_list => ListingStatus::Stale(failure.error),
            Some(failure) => ListingStatus::Unavailable(failure.error),
        };
        Listing { tools: self.last_good.map(|good| good.tools).unwrap_or_default(), status }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TTL: SignedDuration = SignedDuration::from_secs(900);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    fn tools(names: &[&str]) -> Arc<ToolNames> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Arc::new(ToolNames { names, left_out: Vec::new() })
    }

    fn timeout() -> Result<Arc<ToolNames>, McpError> {
        Err(McpError::Timeout { after: Duration::from_secs(8) })
    }

    fn is_sufficient(cached: &CachedListing, now: Timestamp) -> bool {
        cached.is_sufficient(Freshness::Cached, now, TTL)
    }

    #[test]
    fn a_list_is_fresh_for_its_ttl() {
        let cached = CachedListing::default().updated_with(Ok(tools(&["a"])), at(0));
        assert!(is_sufficient(&cached, at(899)));
        assert!(!is_sufficient(&cached, at(900)));
        assert!(matches!(cached.into_listing().status, ListingStatus::Fresh));
    }

    #[test]
    fn failures_pause_for_30_seconds_doubling_to_five_minutes() {
        let mut cached = CachedListing::default();
        let mut now = 0;
        for pause in [30, 60, 120, 240, 300, 300] {
            cached = cached.updated_with(timeout(), at(now));
            assert!(is_sufficient(&cached, at(now + pause - 1)), "{pause}");
            assert!(!is_sufficient(&cached, at(now + pause)), "{pause}");
            now += pause;
        }
        cached = cached.updated_with(Ok(tools(&["a"])), at(now));
        cached = cached.updated_with(timeout(), at(now + 900));
        assert!(!is_sufficient(&cached, at(now + 930)), "after a success the first pause is 30 s again");
    }

    #[test]
    fn the_last_good_list_is_returned_with_the_failure() {
        let cached =
            CachedListing::default().updated_with(Ok(tools(&["a"])), at(0)).updated_with(timeout(), at(900));
        let listing = cached.into_listing();
        assert_eq!(listing.tools.names, ["a"]);
        assert!(matches!(listing.status, ListingStatus::Stale(McpError::Timeout { .. })));
        let never = CachedListing::default().updated_with(timeout(), at(0)).into_listing();
        assert!(matches!(never.status, ListingStatus::Unavailable(_)));
    }

    #[test]
    fn forced_asks_again_but_only_once_in_one_call() {
        let cached = CachedListing::default().updated_with(Ok(tools(&["a"])), at(0));
        assert!(!cached.is_sufficient(Freshness::Forced, at(1), TTL));
        assert!(cached.is_sufficient(Freshness::Forced, at(0), TTL));
        let failed = cached.updated_with(timeout(), at(1));
        assert!(!failed.is_sufficient(Freshness::Forced, at(2), TTL), "a pause does not hold for it");
    }

    #[test]
    fn a_newer_snapshot_replaces_the_cached_list_and_an_expired_one_is_dropped() {
        let snapshot = |second| Some((tools(&["b"]), at(second)));
        let failed = CachedListing::default().updated_with(timeout(), at(10));
        let merged = |seconds: i64| failed.clone().merged_with(snapshot(seconds), at(30));
        assert!(is_sufficient(&merged(20), at(30)));
        assert!(matches!(merged(20).into_listing().status, ListingStatus::Fresh));
        assert!(matches!(merged(5).into_listing().status, ListingStatus::Stale(_)));
        let week = 7 * 24 * 3600;
        assert_eq!(CachedListing::default().merged_with(snapshot(0), at(week + 1)).tool_count(), 0);
        let of_future = CachedListing::default().merged_with(snapshot(9_999), at(0));
        assert!(!is_sufficient(&of_future, at(900)), "another process's clock ahead of this one");
    }
}
