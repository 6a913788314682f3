//! Logging: one JSON object a line on standard output, where Lambda picks it up.
//!
//! `LOG_LEVEL` governs our own crates. Libraries speak from warnings on, whatever it says: what they
//! log below that holds requests and bodies. rmcp stays silent, since even its warnings quote servers.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{filter::Targets, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::plain_json::PlainJson;

const OURS: [&str; 13] = [
    "agent",
    "agent_jobs",
    "agent_processor",
    "auth",
    "catalog",
    "connections_api",
    "egress",
    "jobs",
    "list_available_agents",
    "mcp",
    "mcp_agents",
    "panic",
    "runtime",
];

/// Starts logging at the level that `LOG_LEVEL` names (`INFO` if it names none), and logs panics by
/// their place alone: their words may hold anything.
pub fn init_logging(log_level: Option<&str>) {
    let level = log_level.and_then(|level| level.parse().ok()).unwrap_or(LevelFilter::INFO);
    let targets = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("rmcp", LevelFilter::OFF)
        .with_targets(OURS.map(|target| (target, level)));
    let json = fmt::layer()
        .json()
        .with_writer(|| PlainJson(std::io::stdout()))
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false);
    // A second start in one process, as in tests, leaves the first as it is.
    let _ = tracing_subscriber::registry().with(targets).with(json).try_init();
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        // The runtime crate panics where an emulator leaves a header out, in words that quote nothing.
        let words = panic.payload_as_str().filter(|_| place.contains("/lambda_runtime-"));
        tracing::error!(target: "panic", location = place, words, "External MCP: a bug: the code panicked");
    }));
}
