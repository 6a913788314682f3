//! The one HTTP client for every address that somebody else chose.
//!
//! An MCP server's URL comes from an entry, an authorization server's from a document that the
//! server sent. Both are untrusted, so both are reached through [`HttpClient`] alone: `https` only,
//! no private, link-local or metadata address, no redirects, bounded bodies, connect and read
//! deadlines. What [`EgressPolicy`] opens up, it opens for addresses, never for names.
//!
//! Texts from such servers are shown to people as [`Shown`]: cut, and without what could steer a terminal.
//!
//! Calls to AWS itself do not go through here: the SDKs choose those addresses.

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
