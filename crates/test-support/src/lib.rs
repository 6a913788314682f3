//! Stand-ins for what is outside: MCP servers, with faults or with real sign-in, and a model.
//!
//! Everything here is spoken to over HTTP, by the code under test as by the tests, and runs as
//! `test-support <what>`. Nothing of the product depends on it.

pub mod example;
pub mod faulty;
pub mod model;
