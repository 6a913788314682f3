//! What the process keeps of one server under one credential: the last known good list, and the last failure.
//!
//! Decides whether the server need be asked; asks nobody ([`crate::ToolCache`] does).

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::{
    error::McpError,
    known_tools::KnownTools,
    listing::{Freshness, Listing, ListingStatus},
    snapshot::KEPT,
};

/// The first pause after a failure: long enough not to hammer, short enough to see a fix soon.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(30);
/// The longest pause after repeated failures.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_secs(300);
/// What a slot takes without a list: so many bound what removed servers leave behind.
const SLOT_BYTES: u32 = 4_096;

#[derive(Clone, Default)]
pub(crate) struct Slot {
    good: Option<Good>,
    failure: Option<Failure>,
}

#[derive(Clone)]
struct Good {
    known: Arc<KnownTools>,
    fetched_at: Timestamp,
}

#[derive(Clone)]
struct Failure {
    error: McpError,
    at: Timestamp,
    pause: SignedDuration,
}

impl Slot {
    /// How many bytes of memory it takes; lists that are shared count for each slot.
    pub(crate) fn bytes(&self) -> u32 {
        let list = self.good.as_ref().map_or(0, |good| good.known.bytes());
        u32::try_from(list).unwrap_or(u32::MAX).saturating_add(SLOT_BYTES)
    }

    /// Takes in what another environment fetched and wrote, and lets go of what is too old to be good.
    pub(crate) fn with(mut self, arrived: Option<(Arc<KnownTools>, Timestamp)>, now: Timestamp) -> Self {
        // Clocks differ a little: nothing was fetched in this call's future.
        let arrived = arrived.map(|(known, fetched_at)| Good {
            known,
            fetched_at: fetched_at.min(now - SignedDuration::from_millis(1)),
        });
        let is_newer =
            |arrived: &Good| self.good.as_ref().is_none_or(|good| good.fetched_at < arrived.fetched_at);
        if let Some(arrived) = arrived.filter(is_newer) {
            self.failure.take_if(|failure| failure.at < arrived.fetched_at);
            self.good = Some(arrived);
        }
        self.good.take_if(|good| good.fetched_at + KEPT < now);
        self
    }

    /// Whether the server need not be asked.
    pub(crate) fn is_settled(&self, freshness: Freshness, now: Timestamp, ttl: SignedDuration) -> bool {
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

    /// The slot after the server was asked.
    pub(crate) fn after(self, outcome: Result<Arc<KnownTools>, McpError>, now: Timestamp) -> Self {
        match outcome {
            Ok(known) => Self { good: Some(Good { known, fetched_at: now }), failure: None },
            Err(error) => {
                let pause = self.failure.map_or(FIRST_PAUSE, |last| (last.pause * 2).min(LONGEST_PAUSE));
                Self { good: self.good, failure: Some(Failure { error, at: now, pause }) }
            }
        }
    }

    /// How many tools the last known good list holds.
    pub(crate) fn had(&self) -> usize {
        self.good.as_ref().map_or(0, |good| good.known.names.len())
    }

    /// What is known, and how.
    pub(crate) fn listing(self) -> Listing {
        let is_known = self.good.is_some();
        let status = match self.failure {
            None => ListingStatus::Fresh,
            Some(failure) if is_known => ListingStatus::Stale(failure.error),
            Some(failure) => ListingStatus::Unavailable(failure.error),
        };
        Listing { known: self.good.map(|good| good.known).unwrap_or_default(), status }
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

    fn known(names: &[&str]) -> Arc<KnownTools> {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        Arc::new(KnownTools { names, left_out: Vec::new() })
    }

    fn timeout() -> Result<Arc<KnownTools>, McpError> {
        Err(McpError::Timeout { after: Duration::from_secs(8) })
    }

    fn settled(slot: &Slot, now: Timestamp) -> bool {
        slot.is_settled(Freshness::Cached, now, TTL)
    }

    #[test]
    fn a_list_is_fresh_for_its_ttl() {
        let slot = Slot::default().after(Ok(known(&["a"])), at(0));
        assert!(settled(&slot, at(899)));
        assert!(!settled(&slot, at(900)));
        assert!(matches!(slot.listing().status, ListingStatus::Fresh));
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
        slot = slot.after(Ok(known(&["a"])), at(now));
        slot = slot.after(timeout(), at(now + 900));
        assert!(!settled(&slot, at(now + 930)), "a success starts the pauses anew");
    }

    #[test]
    fn the_last_known_good_list_is_given_with_the_reason() {
        let slot = Slot::default().after(Ok(known(&["a"])), at(0)).after(timeout(), at(900));
        let listing = slot.listing();
        assert_eq!(listing.known.names, ["a"]);
        assert!(matches!(listing.status, ListingStatus::Stale(McpError::Timeout { .. })));
        let never = Slot::default().after(timeout(), at(0)).listing();
        assert!(matches!(never.status, ListingStatus::Unavailable(_)));
    }

    #[test]
    fn forced_asks_again_but_only_once_in_one_call() {
        let slot = Slot::default().after(Ok(known(&["a"])), at(0));
        assert!(!slot.is_settled(Freshness::Forced, at(1), TTL));
        assert!(slot.is_settled(Freshness::Forced, at(0), TTL));
        let failed = slot.after(timeout(), at(1));
        assert!(!failed.is_settled(Freshness::Forced, at(2), TTL), "a pause is bypassed");
    }

    #[test]
    fn a_newer_snapshot_replaces_what_is_kept_and_an_old_one_is_let_go() {
        let snapshot = |second| Some((known(&["b"]), at(second)));
        let failed = Slot::default().after(timeout(), at(10));
        assert!(settled(&failed.clone().with(snapshot(20), at(30)), at(30)));
        assert!(matches!(failed.clone().with(snapshot(20), at(30)).listing().status, ListingStatus::Fresh));
        assert!(matches!(failed.with(snapshot(5), at(30)).listing().status, ListingStatus::Stale(_)));
        let week = 7 * 24 * 3600;
        assert_eq!(Slot::default().with(snapshot(0), at(week + 1)).had(), 0);
        assert!(!settled(&Slot::default().with(snapshot(9_999), at(0)), at(900)), "a clock ahead of ours");
    }
}
