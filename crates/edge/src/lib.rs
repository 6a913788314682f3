//! The HTTP edge of the functions: Lambda events become requests for an `axum` router, and its responses answers.
//!
//! A function builds its routes and hands them to [`serve`], which adds what all functions share: the deadline, the
//! cut-off, the access log line, and errors for requests that match no route. [`lambda::answer`] sends an event
//! through the router. Handlers take the caller, the query and the body from [`Member`], [`Query`], [`Path`] and
//! [`Json`], and fail with [`HttpError`].
//!
//! Knows no function and no backend. Events that are not HTTP never come here.

mod caller;
mod error;
mod extract;
mod json_answer;
pub mod lambda;
mod routes;
mod serve;

pub use caller::{Caller, Member, may_list};
pub use error::{ErrorBody, ErrorKind, GatewayError, HttpError, snake_case};
pub use extract::{Json, Path, Query, path_segments};
#[doc(hidden)]
pub use routes::{method_filter, paste};
pub use serve::{Deadline, InvocationEnd, Margins, serve};
