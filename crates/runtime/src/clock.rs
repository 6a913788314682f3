//! The clock. Domain crates take the time as a value; binaries take it from here.

use std::time::Duration;

use jiff::Timestamp;

/// The time, by the wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place where the clock is read")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// How long it is until `deadline_ms`, milliseconds since the epoch, as Lambda gives a deadline.
pub fn time_left(deadline_ms: u64) -> Duration {
    let now = u64::try_from(now().as_millisecond()).unwrap_or_default();
    Duration::from_millis(deadline_ms.saturating_sub(now))
}
