//! The jobs API: lists agents, and submits, shows, lists and deletes jobs, over HTTP and for resolvers.
//!
//! [`router`] has the HTTP routes and runs without Lambda, in a test or behind a local server. The binary passes events
//! to [`handle`], which also handles those that are not HTTP. [`openapi`] builds the API's part of the OpenAPI document,
//! for a test; [`OPENAPI`] is the checked-in document.

// The future of a list of agents is nested deeper than the default limit of 128.
#![recursion_limit = "256"]

mod api;
mod config;
mod dto;
mod error;
mod handler;
mod http;
mod processor;
mod resolver;

pub use api::Api;
pub use config::Config;
pub use handler::handle;
pub use http::{OPENAPI, openapi, router};
