//! The clock. Domain crates take the time as a value; binaries take it from here.

use jiff::Timestamp;

/// The time, by the wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place where the clock is read")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
