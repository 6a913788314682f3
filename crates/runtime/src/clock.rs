//! The clock, for binaries. Domain crates take the time as an argument.

use jiff::Timestamp;

/// Returns the current time of the wall clock.
#[expect(clippy::disallowed_methods, reason = "this is the one place where the clock is read")]
pub fn now() -> Timestamp {
    Timestamp::now()
}
