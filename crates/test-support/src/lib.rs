//! Stand-ins for what is outside: MCP servers, with faults or with real sign-in, an authorization server, and a
//! model.
//!
//! Everything here is spoken to over HTTP by the code under test. The end-to-end tests run it as
//! `test-support <what>`, and the crates' integration tests start it in their own process. Nothing of the product
//! depends on it.

pub mod authorization_server;
pub mod example;
pub mod faulty;
pub mod model;
