//! Corrections for Lambda emulators, which send impossible deadlines and do not set all variables that Lambda sets.
//!
//! On Lambda itself this module changes nothing. Called by the functions: once at start, and at each invocation.

use std::{
    env::current_exe,
    io,
    os::unix::process::CommandExt,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use jiff::Timestamp;

use crate::{
    clock::now,
    config::{ConfigError, Vars},
};

/// The longest time-out that a Lambda function can have.
/// Source: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const LONGEST_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// Tolerance for a clock of this process that is behind the clock that made the deadline. Synchronised clocks differ by
/// milliseconds, and that must not make a deadline of 15 minutes count as impossible.
const CLOCK_SKEW: Duration = Duration::from_secs(1);

/// The time limit of invocations: the deadline, or the function's own time-out where the deadline is impossible.
#[derive(Debug)]
pub struct TimeLimit {
    timeout: Duration,
    was_logged: AtomicBool,
}

impl TimeLimit {
    /// Reads `FUNCTION_TIMEOUT_SECONDS`, which the template sets to the function's time-out.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn from_lookup(
        lookup: &dyn Fn(&str) -> Option<String>,
        default: Duration,
    ) -> Result<Self, ConfigError> {
        let mut vars = Vars::new(lookup);
        let timeout = vars.seconds("FUNCTION_TIMEOUT_SECONDS", default);
        vars.finish(Self { timeout, was_logged: AtomicBool::new(false) })
    }

    /// Returns the time left until `deadline_ms`, the deadline of the Runtime API in milliseconds since the epoch.
    ///
    /// A deadline in the past, or more than 15 minutes ahead (Lambda's maximum), is impossible: `cargo lambda watch`
    /// sends a duration instead of a time, and the clocks of emulators differ. The function's own time-out is used
    /// instead, which is logged once.
    pub fn time_left(&self, deadline_ms: u64) -> Duration {
        time_left(deadline_ms, now()).unwrap_or_else(|| {
            if !self.was_logged.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    deadline_ms,
                    timeout_s = self.timeout.as_secs_f64(),
                    "External MCP: the invocation's deadline is past, or more than 15 minutes ahead; FUNCTION_TIMEOUT_SECONDS takes its place"
                );
            }
            self.timeout
        })
    }
}

/// Returns the time from `now` until a deadline; `None` for an impossible deadline.
fn time_left(deadline_ms: u64, now: Timestamp) -> Option<Duration> {
    let now_ms = u64::try_from(now.as_millisecond()).ok()?;
    let left = Duration::from_millis(deadline_ms.checked_sub(now_ms)?);
    let is_possible = !left.is_zero() && left <= LONGEST_TIMEOUT + CLOCK_SKEW;
    is_possible.then(|| left.min(LONGEST_TIMEOUT))
}

/// Replaces this process by the same program with the variables that Lambda's runtime crate requires, if one of them is
/// missing or invalid; does nothing otherwise. The variables hold the function's name, version and memory size, which
/// this workspace does not read.
///
/// # Errors
/// [`io::Error`] if the program was started by neither Lambda nor an emulator, or cannot be started again.
pub fn with_lambda_variables(lookup: &dyn Fn(&str) -> Option<String>) -> io::Result<()> {
    if lookup("AWS_LAMBDA_RUNTIME_API").is_none_or(|address| address.is_empty()) {
        let message = "AWS_LAMBDA_RUNTIME_API is not set: this program is a Lambda function, start it with `cargo lambda watch`";
        return Err(io::Error::other(message));
    }
    let missing = missing(lookup);
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
    tracing::warn!(
        variables = names.join(", "),
        "External MCP: variables of Lambda are missing and filled in"
    );
    Err(Command::new(current_exe()?).args(std::env::args_os().skip(1)).envs(missing).exec())
}

/// Returns the variables to set, with their values; empty once they are set.
fn missing(lookup: &dyn Fn(&str) -> Option<String>) -> Vec<(&'static str, &'static str)> {
    const NEEDED: [(&str, &str); 3] = [
        ("AWS_LAMBDA_FUNCTION_NAME", "function"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
    ];
    let is_good = |name: &str| match lookup(name) {
        Some(size) if name.ends_with("MEMORY_SIZE") => size.parse::<i32>().is_ok(),
        other => other.is_some(),
    };
    NEEDED.into_iter().filter(|(name, _)| !is_good(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_in_the_past_or_more_than_fifteen_minutes_ahead_is_impossible() {
        let now_ms: u64 = 1_769_851_800_000;
        let now = Timestamp::from_millisecond(1_769_851_800_000).unwrap();
        let check = |deadline_ms: u64, expected_ms: Option<u64>| {
            assert_eq!(time_left(deadline_ms, now), expected_ms.map(Duration::from_millis), "{deadline_ms}");
        };
        // As Lambda sends it, for time-outs of 1 second, 30 seconds and 15 minutes.
        check(now_ms + 1_000, Some(1_000));
        check(now_ms + 29_994, Some(29_994));
        check(now_ms + 900_000, Some(900_000));
        // A clock that is a little behind the one that made the deadline; an hour behind; an hour ahead.
        check(now_ms + 900_007, Some(900_000));
        check(now_ms + 901_001, None);
        check(now_ms + 3_630_000, None);
        check(now_ms - 3_570_000, None);
        // `cargo lambda watch`; seconds, zero, the current time; microseconds; the largest number.
        check(600_000, None);
        check(1_769_851_830, None);
        check(0, None);
        check(now_ms, None);
        check((now_ms + 30_000) * 1_000, None);
        check(u64::MAX, None);
    }

    #[test]
    fn an_impossible_deadline_is_replaced_by_the_functions_own_time_out() {
        let lookup = |name: &str| (name == "FUNCTION_TIMEOUT_SECONDS").then(|| "12".to_owned());
        let limit = TimeLimit::from_lookup(&lookup, Duration::from_secs(30)).unwrap();
        assert_eq!(limit.time_left(600_000), Duration::from_secs(12));
        let limit = TimeLimit::from_lookup(&|_| None, Duration::from_secs(30)).unwrap();
        assert_eq!(limit.time_left(600_000), Duration::from_secs(30));
        assert!(TimeLimit::from_lookup(&|_| Some("soon".to_owned()), Duration::ZERO).is_err());
    }

    #[test]
    fn missing_and_invalid_variables_are_set_once() {
        let check = |set: &[(&str, &str)], expected: &[&str]| {
            let lookup = |name: &str| {
                set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            };
            assert_eq!(missing(&lookup).iter().map(|(name, _)| *name).collect::<Vec<_>>(), expected);
        };
        let (name, version, size) =
            ("AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE");
        check(&[], &[name, version, size]);
        check(&[(name, "f"), (version, "1"), (size, "128 MB")], &[size]);
        check(&[(name, "f"), (version, "1"), (size, "128")], &[]);
    }
}
