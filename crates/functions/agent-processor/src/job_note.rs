//! The effect note of a job's run: written to the job before the first tool that may change something is called.
//!
//! A run that takes the job over reads the note and ends the job instead of calling the tool again.

use agent::{EffectNote, EffectfulCall, Permission};
use jobs::{Claim, JobError};
use tokio::sync::OnceCell;

/// The effect note of one claim's run.
pub(crate) struct JobNote<'a> {
    claim: &'a Claim,
    /// Set when the note is written. One note is enough for the whole run.
    written: OnceCell<()>,
}

impl<'a> JobNote<'a> {
    pub(crate) fn new(claim: &'a Claim) -> Self {
        Self { claim, written: OnceCell::new() }
    }
}

impl EffectNote for JobNote<'_> {
    type Error = JobError;

    /// Writes the note if it is not written yet.
    ///
    /// # Errors
    /// [`JobError`] if the note could not be written, or if the lease has expired. The tool must not be called then.
    async fn before_call(&self, call: EffectfulCall<'_>) -> Result<Permission, JobError> {
        self.written.get_or_try_init(|| self.claim.note_effect(call.tool)).await?;
        // After the note: writing it may have taken longer than the lease.
        self.claim.check_held(runtime::now())?;
        Ok(Permission::Granted)
    }
}
