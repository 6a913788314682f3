//! The cache of tool lists: the time for which a list is fresh, and the pauses of a failing server.

mod support;

use std::time::Duration;

use jiff::Timestamp;
use mcp::{CacheLimits, Freshness, Listing, ListingStatus, McpError, McpServer, ToolCache};
use support::{at, connector, entry, pages, server};
use test_support::faulty::{Behaviour, FaultyServer};
use tokio::time::Instant;

const TTL: Duration = Duration::from_secs(900);
/// Time limit that is not reached in these tests: far longer than a server on this machine takes.
const AMPLE: Duration = Duration::from_secs(20);

fn cache(discovery: Duration) -> ToolCache {
    ToolCache::new(connector(), None, CacheLimits { ttl: TTL, discovery })
}

async fn listing(cache: &ToolCache, server: &McpServer, freshness: Freshness, now: Timestamp) -> Listing {
    let mut listings = cache.listings(&[server], freshness, now, Instant::now() + AMPLE).await;
    listings.pop().unwrap()
}

async fn names(cache: &ToolCache, server: &FaultyServer, now: Timestamp) -> Vec<String> {
    listing(cache, &entry(server), Freshness::Cached, now).await.tools.names.clone()
}

fn failing() -> Behaviour {
    Behaviour { status: Some(500), ..Behaviour::default() }
}

#[tokio::test]
async fn a_list_is_fresh_for_its_ttl_and_read_again_after_it() {
    let (cache, server) = (cache(AMPLE), server(Behaviour::default()).await);
    assert_eq!(names(&cache, &server, at(0)).await, ["echo"]);
    server.behave(Behaviour { pages: pages(&[&["other"]]), ..Behaviour::default() });
    assert_eq!(names(&cache, &server, at(899)).await, ["echo"]);
    assert_eq!(server.count("tools/list"), 1);
    assert_eq!(names(&cache, &server, at(900)).await, ["other"]);
    assert_eq!(server.count("tools/list"), 2);
}

#[tokio::test]
async fn a_forced_list_is_read_again_at_once() {
    let (cache, server) = (cache(AMPLE), server(Behaviour::default()).await);
    names(&cache, &server, at(0)).await;
    let forced = listing(&cache, &entry(&server), Freshness::Forced, at(1)).await;
    assert!(matches!(forced.status, ListingStatus::Fresh), "{forced:?}");
    assert_eq!(server.count("tools/list"), 2);
}

#[tokio::test]
async fn a_failing_server_is_not_asked_during_growing_pauses() {
    let (cache, server) = (cache(AMPLE), server(failing()).await);
    let mut now = 0;
    for (times, pause) in (1..).zip([30, 60, 120]) {
        let failed = listing(&cache, &entry(&server), Freshness::Cached, at(now)).await;
        assert!(matches!(failed.status, ListingStatus::Unavailable(McpError::Status { status: 500, .. })));
        listing(&cache, &entry(&server), Freshness::Cached, at(now + pause - 1)).await;
        assert_eq!(
            server.count("initialize"),
            times,
            "the server is not asked during its pause of {pause} s"
        );
        now += pause;
    }
    server.behave(Behaviour::default());
    assert_eq!(names(&cache, &server, at(now - 1)).await, Vec::<String>::new());
    assert_eq!(names(&cache, &server, at(now)).await, ["echo"], "a repaired server is asked after the pause");
}

#[tokio::test]
async fn the_last_good_list_is_returned_with_the_current_error() {
    let (cache, server) = (cache(AMPLE), server(Behaviour::default()).await);
    names(&cache, &server, at(0)).await;
    server.behave(failing());
    let stale = listing(&cache, &entry(&server), Freshness::Cached, at(1_000)).await;
    assert_eq!(stale.tools.names, ["echo"]);
    assert!(matches!(stale.status, ListingStatus::Stale(McpError::Status { status: 500, .. })), "{stale:?}");
}

#[tokio::test]
async fn an_empty_list_of_a_server_that_had_tools_is_an_error() {
    let (cache, server) = (cache(AMPLE), server(Behaviour::default()).await);
    names(&cache, &server, at(0)).await;
    server.behave(Behaviour { pages: vec![Vec::new()], ..Behaviour::default() });
    let emptied = listing(&cache, &entry(&server), Freshness::Cached, at(1_000)).await;
    assert_eq!(emptied.tools.names, ["echo"]);
    assert!(matches!(emptied.status, ListingStatus::Stale(McpError::Emptied { had: 1 })), "{emptied:?}");
}

#[tokio::test]
async fn a_server_that_hangs_delays_the_result_by_its_own_time_limit_at_most() {
    let limit = Duration::from_millis(300);
    let (cache, good) = (cache(limit), server(Behaviour::default()).await);
    let hung = server(Behaviour { hang_on: Some("*".to_owned()), ..Behaviour::default() }).await;
    let (hung_entry, good_entry) = (entry(&hung), entry(&good));
    let start = Instant::now();
    let servers = [&hung_entry, &good_entry];
    let listings = cache.listings(&servers, Freshness::Cached, at(0), start + AMPLE).await;
    assert!(start.elapsed() < AMPLE, "{:?}", start.elapsed());
    assert!(
        matches!(listings[0].status, ListingStatus::Unavailable(McpError::Timeout { after }) if after == limit)
    );
    assert_eq!(listings[1].tools.names, ["echo"]);
}

#[tokio::test]
async fn several_entries_for_one_server_cause_one_request() {
    let (cache, server) = (cache(AMPLE), server(Behaviour { delay_ms: 50, ..Behaviour::default() }).await);
    let entries: Vec<McpServer> = (0..4).map(|_| entry(&server)).collect();
    let entries: Vec<&McpServer> = entries.iter().collect();
    let listings = cache.listings(&entries, Freshness::Cached, at(0), Instant::now() + AMPLE).await;
    assert!(listings.iter().all(|listing| listing.tools.names == ["echo"]), "{listings:?}");
    assert_eq!(server.count("tools/list"), 1);
}
