//! The jobs API: its routes as a router, and the events that are not HTTP.
//!
//! [`router`] runs without Lambda, in a test or behind a local server. The binary sends events through [`handle`].

// The futures of a list of agents are nested deeper than the default of 128.
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
