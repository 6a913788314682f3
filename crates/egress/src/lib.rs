//! The HTTP client for URLs that others choose.
//!
//! The URL of an MCP server comes from an entry, the URL of an authorization server from a document of the MCP server. Both
//! are untrusted, so requests to both go through [`HttpClient`] alone: `https` only, no private, link-local or metadata
//! address, no redirects, bodies with a limit, connect and read deadlines. An [`EgressPolicy`] opens addresses, never
//! names.
//!
//! Texts from such servers are shown to people as [`Shown`]: cut, and without control characters.
//!
//! Calls of the AWS SDKs do not go through this client, since the SDKs choose those addresses.

mod address;
mod body;
mod client;
mod error;
mod policy;
mod shown;

pub use address::AddressKind;
pub use body::{Body, MAX_BODY_BYTES};
pub use client::{Deadlines, HttpClient};
pub use error::EgressError;
pub use policy::{EgressPolicy, PolicyError, Refusal};
pub use shown::{Shown, is_printable};
