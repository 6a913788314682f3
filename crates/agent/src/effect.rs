//! The effect note: a hook that a run calls before each tool that may change something.
//!
//! A run waits for [`EffectNote::before_call`] before each such call. The job processor's hook writes a note to the job
//! and checks that it still holds the job's lease. The command line's hook asks the user, or does nothing. Tools with
//! `readOnlyHint` or `idempotentHint` are called without the hook.

use serde_json::{Map, Value};

/// A hook before each call of a tool that may change something.
pub trait EffectNote {
    /// An error that ends the whole run.
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

/// The decision about a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// The tool is called.
    Granted,
    /// The tool is not called.
    Refused,
}
