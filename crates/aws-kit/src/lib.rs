//! Helpers for adapters to AWS: error reasons without content, DynamoDB attributes, gzip.
//!
//! Makes no call to AWS and holds no client. Used by every crate that has an adapter.

mod fault;
mod gzip;
mod item;

pub use fault::{is_condition_failed, reason};
pub use gzip::{gzip_onto, json_from_gzip};
pub use item::{Item, bytes_of, number, number_of, text, text_of};
