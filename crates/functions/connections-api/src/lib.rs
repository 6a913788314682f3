//! The connections API: its routes as a router. Users sign in to MCP servers, and take sign-ins back.
//!
//! [`router`] runs without Lambda, in a test or behind a local server. The binary sends events through [`handle`].

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
