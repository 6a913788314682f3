//! HTTP in and out of a function: requests as API Gateway hands them over, answers, and the caller.

mod api_gateway;
mod caller;

pub use api_gateway::{BadRequest, HttpRequest, json_response};
pub use caller::{Caller, may_list};
