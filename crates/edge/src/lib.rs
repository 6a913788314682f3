//! The HTTP edge of the functions: converts Lambda events to requests for an `axum` router, and responses back.
//!
//! A function lists its handlers with [`routes!`](routes!) and passes the router to [`serve()`], which adds what all
//! functions share: the deadline, the cut-off, the access log line, and errors for requests that match no route.
//! [`lambda::answer`] sends an event through the router. Handlers use the extractors [`Member`], [`Query`], [`Path`],
//! [`Json`] and [`Deadline`], and return [`HttpError`].
//!
//! This crate knows no function and no backend. Functions handle events that are not HTTP themselves.

mod authentication;
mod error;
mod extract;
mod json_response;
pub mod lambda;
mod routes;
mod serve;

pub use authentication::{Authentication, Member};
pub use error::{ErrorBody, ErrorKind, HttpError, snake_case};
pub use extract::{Json, Path, Query, path_segments};
#[doc(hidden)]
pub use routes::{method_filter, paste};
pub use serve::{Deadline, InvocationEnd, Margins, serve};
