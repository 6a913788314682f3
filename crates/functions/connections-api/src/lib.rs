//! The connections API: users sign in to MCP servers, and delete their sign-ins.
//!
//! [`router`] has the HTTP routes and runs without Lambda, in a test or behind a local server. The binary passes events
//! to [`handle`]. [`openapi`] builds the API's part of the OpenAPI document, for a test.

mod api;
mod config;
mod dto;
mod error;
mod handler;
mod http;
mod origins;
mod page;

pub use api::Api;
pub use config::Config;
pub use handler::handle;
pub use http::{openapi, router};
