//! Logging: one JSON object a line on standard output, where Lambda picks it up.
//!
//! `LOG_LEVEL` governs our own crates. Libraries speak from warnings on, whatever it says: what they
//! log below that holds requests and bodies. rmcp stays silent, since even its warnings quote servers.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::plain_json::PlainJson;

/// Starts logging at the level that `LOG_LEVEL` names (`INFO` if it names none), and logs panics by
/// their place alone: their words may hold anything.
pub fn init_logging(log_level: Option<&str>) {
    let level = log_level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    let filter =
        filter_fn(move |metadata| *metadata.level() <= limit(metadata.file(), metadata.target(), level))
            .with_max_level_hint(level.max(LevelFilter::WARN));
    let json = fmt::layer()
        .json()
        .with_writer(|| PlainJson(std::io::stdout()))
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false);
    // A second start in one process, as in tests, leaves the first as it is.
    let _ = tracing_subscriber::registry().with(json.with_filter(filter)).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // The runtime crate panics where an emulator leaves a header out, in words that quote nothing.
        let words = panic.payload_as_str().filter(|_| place.contains("/lambda_runtime-"));
        tracing::error!(target: "panic", location = place, words, "External MCP: a bug: the code panicked");
    }));
}

/// The level up to which code in a source file logs. The crates of this workspace lie below `crates/`, seen from where
/// it is built; those of libraries have absolute paths.
fn limit(file: Option<&str>, target: &str, ours: LevelFilter) -> LevelFilter {
    match file {
        Some(file) if file.starts_with("crates/") => ours,
        _ if target.starts_with("rmcp") => LevelFilter::OFF,
        _ => LevelFilter::WARN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_this_workspace_logs_at_the_level_that_is_set() {
        let check = |file, target, expected| assert_eq!(limit(file, target, LevelFilter::DEBUG), expected);
        check(Some(file!()), "runtime", LevelFilter::DEBUG);
        check(Some("/cargo/registry/src/crates/h2-0.4/src/lib.rs"), "h2", LevelFilter::WARN);
        check(Some("/cargo/registry/src/rmcp-1/src/lib.rs"), "rmcp::service", LevelFilter::OFF);
        check(None, "hyper", LevelFilter::WARN);
    }
}
