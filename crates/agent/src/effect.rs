//! The effect note: what is done before a run calls a tool that may change something.
//!
//! A run waits for [`EffectNote::before_call`] before each such call. The job processor writes a note to the job
//! there and checks that it still holds the job; the command line asks the user, or does nothing. Tools with
//! `readOnlyHint` or `idempotentHint` are called without it.

use serde_json::{Map, Value};

/// What is done before each call of a tool that may change something.
pub trait EffectNote {
    /// Why the run may not go on. Such an error ends the whole run.
    type Error: std::error::Error + 'static;

    /// Called, and waited for, before each call of a tool that may change something. With
    /// [`Permission::Refused`] the tool is not called: the model receives an error result, and the run goes on.
    ///
    /// # Errors
    /// [`Self::Error`] ends the run before the tool is called.
    fn before_call(&self, call: EffectfulCall<'_>) -> impl Future<Output = Result<Permission, Self::Error>>;
}

/// A call of a tool that may change something.
#[derive(Debug, Clone, Copy)]
pub struct EffectfulCall<'a> {
    /// The MCP server's URL, without its query.
    pub server: &'a str,
    /// The tool's name, as its server lists it.
    pub tool: &'a str,
    /// The arguments of the call.
    pub arguments: &'a Map<String, Value>,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// The tool is called.
    Granted,
    /// The tool is not called.
    Refused,
}
