//! Stand-ins for external services: MCP servers with faults, MCP servers that check access tokens, an authorization
//! server, and a model.
//!
//! The code under test reaches them over HTTP. The end-to-end tests start them as `test-support <name>`; the
//! integration tests of the crates start them in their own process. No crate of the product depends on this crate.

pub mod authorization_server;
pub mod example;
pub mod faulty;
pub mod model;
