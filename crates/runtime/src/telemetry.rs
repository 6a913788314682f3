//! Logging: one JSON object per line on standard output, which Lambda sends to CloudWatch Logs.
//!
//! `LOG_LEVEL` applies to the crates of this workspace. Libraries log warnings and errors alone, because their other
//! lines contain requests and bodies. rmcp logs nothing, because even its warnings quote servers. Called once by each
//! binary.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{Layer, filter::filter_fn, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::plain_json::PlainJson;

/// Starts logging at the level `log_level`, the value of `LOG_LEVEL` (default `INFO`). Logs a panic by its location
/// without its message, which may contain secrets.
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
    // A second call in one process, as in tests, changes nothing.
    let _ = tracing_subscriber::registry().with(json.with_filter(filter)).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // lambda_runtime panics if an emulator omits a header. Its message contains no secret and is logged.
        let words = panic.payload_as_str().filter(|_| place.contains("/lambda_runtime-"));
        tracing::error!(target: "panic", location = place, words, "External MCP: a bug: the code panicked");
    }));
}

/// Returns the level up to which the code of a source file logs. The paths of this workspace are relative to the
/// workspace and begin with `crates/`; those of libraries are absolute.
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
    fn the_crates_of_this_workspace_log_at_the_configured_level() {
        let check = |file, target, expected| assert_eq!(limit(file, target, LevelFilter::DEBUG), expected);
        check(Some(file!()), "runtime", LevelFilter::DEBUG);
        check(Some("/cargo/registry/src/crates/h2-0.4/src/lib.rs"), "h2", LevelFilter::WARN);
        check(Some("/cargo/registry/src/rmcp-1/src/lib.rs"), "rmcp::service", LevelFilter::OFF);
        check(None, "hyper", LevelFilter::WARN);
    }
}
