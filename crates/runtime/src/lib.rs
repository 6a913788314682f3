//! The process's surroundings, for binaries: the environment, logging, metrics, AWS clients, HTTP and the clock.
//!
//! The only crate that reads the environment and the clock. Domain crates get clients and the time from their callers
//! and do not depend on this crate.

mod aws;
mod aws_http;
mod clock;
mod config;
mod invocation;
mod metrics;
mod plain_json;
mod telemetry;

pub use aws::{aws_config, slow_service_config};
pub use clock::now;
pub use config::{ConfigError, Vars, environment};
pub use invocation::{TimeLimit, with_lambda_variables};
pub use metrics::{RunMetrics, emit, emit_gauge};
pub use plain_json::plain_json;
pub use telemetry::init_logging;
