//! What binaries are made of: the environment, logging, AWS clients, HTTP and the clock.
//!
//! The only crate that reads the environment or builds a client. Domain crates are handed what they
//! need; nothing below a binary depends on this.

mod aws;
mod aws_http;
mod clock;
mod config;
mod invocation;
mod metrics;
mod plain_json;
mod telemetry;

pub use aws::{aws_config, patient};
pub use clock::now;
pub use config::{ConfigError, Vars, environment};
pub use invocation::{TimeLimit, with_lambda_variables};
pub use metrics::{RunMetrics, emit, emit_gauge};
pub use plain_json::plain_json;
pub use telemetry::init_logging;
