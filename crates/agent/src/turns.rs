//! The loop that agents and the orchestrator share: a model turn, its tool calls, the next turn, until the model
//! answers.
//!
//! Only model turns are retried, never a tool call that may have changed something. If the model is throttled or fails,
//! the run repeats the request after a growing pause, within the run's time, and notes that in the transcript. If the
//! conversation is too large for the model's context, the oldest tool results are elided.

use std::time::Duration;

use futures::{StreamExt, stream};
use run_record::ThrottlingDetails;

use crate::{
    answer::Answer,
    context::{Run, RunLabels, Watch},
    effect::EffectNote,
    error::RunError,
    meter::Step,
    model::{Conversation, ModelError, ToolResult, ToolSpec, ToolUse, Turn},
    transcript::Transcript,
};

/// Most tool calls of one turn that run at once: enough for a dozen agents.
const MAX_CALLS_AT_ONCE: usize = 16;
/// Most requests for one turn. With the pauses below, the last one comes after about a minute of throttling.
const MAX_ATTEMPTS: u32 = 8;
/// The pause before the second attempt. It doubles for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// A conversation with the model within a run: the run's context, the time, and the transcript to write to.
pub(crate) struct Talk<'a, N> {
    pub(crate) run: &'a Run<'a, N>,
    pub(crate) watch: &'a Watch,
    pub(crate) transcript: &'a Transcript,
}

impl<N: EffectNote> Talk<'_, N> {
    /// Lets the model answer `query`. `call` makes the tool calls that the model requests. An error of `call` ends the
    /// run; a failed call that the model should know of is an error result.
    pub(crate) async fn answer(
        &self,
        system: String,
        specs: &[ToolSpec],
        query: &str,
        call: impl AsyncFn(&ToolUse) -> Result<ToolResult, RunError<N::Error>>,
    ) -> Result<Answer, RunError<N::Error>> {
        let mut conversation = Conversation::new(system, specs, query);
        loop {
            let turn = self.turn(&mut conversation).await?;
            self.transcript.assistant(turn.content(), (self.run.clock)());
            if turn.tool_uses.is_empty() {
                return Ok(answer(turn)?);
            }
            let names: Vec<&str> = turn.tool_uses.iter().map(|tool_use| tool_use.name.as_str()).collect();
            let calls = stream::iter(&turn.tool_uses).map(|tool_use| self.called(tool_use, &call));
            let results = calls.buffered(MAX_CALLS_AT_ONCE).collect::<Vec<_>>();
            let results = self.timed(Step::Tools, &format!("tool {}", names.join(", ")), results).await?;
            conversation.push_results(results.into_iter().collect::<Result<_, _>>()?);
        }
    }

    async fn called(
        &self,
        tool_use: &ToolUse,
        call: impl AsyncFn(&ToolUse) -> Result<ToolResult, RunError<N::Error>>,
    ) -> Result<ToolResult, RunError<N::Error>> {
        let result = call(tool_use).await?;
        self.transcript.tool(&tool_use.name, &result, (self.run.clock)());
        Ok(result)
    }

    /// Requests one turn, and repeats the request if the model is throttled or fails.
    async fn turn(&self, conversation: &mut Conversation) -> Result<Turn, RunError<N::Error>> {
        let mut pause = FIRST_PAUSE;
        let mut attempts = 1;
        self.run.meter.start_turn()?;
        loop {
            match self
                .timed(Step::Model, "a turn of the model", self.run.model.next_turn(conversation))
                .await?
            {
                Ok(turn) => {
                    self.run.meter.end_turn(turn.tokens);
                    return Ok(turn);
                }
                Err(ModelError::ContextOverflow) if conversation.elide_oldest_results() => {
                    tracing::info!("External MCP: the oldest tool results were elided to make room");
                }
                Err(error) if error.may_be_about_media() && conversation.describe_media() => {
                    tracing::warn!(%error, "External MCP: the model does not accept an image or document; each is replaced with a text that describes it");
                }
                Err(error) if error.is_transient() && attempts < MAX_ATTEMPTS => {
                    self.note_retry(&error);
                    // Jitter, so that jobs that were throttled together do not repeat their requests together.
                    let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                    self.watch.within("waiting for the model", tokio::time::sleep(jittered)).await?;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    attempts += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Notes in the transcript and the log that the run repeats the request to the model.
    fn note_retry(&self, error: &ModelError) {
        let (code, message) = match error {
            ModelError::Throttled { code, message } => (code.as_str(), message.as_str()),
            ModelError::Unreachable { reason } => (reason.as_str(), "the model did not answer"),
            _ => return,
        };
        let RunLabels { job_id, user_id } = self.run.labels;
        let details = ThrottlingDetails {
            error_code: code.to_owned(),
            error_message: message.to_owned(),
            exception_type: code.to_owned(),
            job_id: job_id.to_owned(),
            user_id: user_id.to_owned(),
        };
        tracing::warn!(%error, "External MCP: the model is asked again");
        self.transcript.throttled(format!("{error}. Asking again."), details, (self.run.clock)());
    }

    /// Waits for `work` within the run's time and adds the time that it took to `step`. `name` names the work in the
    /// error for a run that is out of time.
    pub(crate) async fn timed<T>(
        &self,
        step: Step,
        name: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, RunError<N::Error>> {
        let started = tokio::time::Instant::now();
        let outcome = self.watch.within(name, work).await;
        self.run.meter.add_time(step, started.elapsed());
        outcome
    }
}

/// Reads the answer from the model's last turn.
fn answer(turn: Turn) -> Result<Answer, ModelError> {
    if turn.text.trim().is_empty() {
        return Err(ModelError::Silent { reason: turn.stop_reason });
    }
    Ok(match turn.stop_reason.as_str() {
        "max_tokens" | "model_context_window_exceeded" => {
            Answer::Text(format!("{}\n\n[The answer was cut off at the model's limit.]", turn.text))
        }
        _ => Answer::parse(&turn.text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::Tokens;

    fn turn(text: &str, stop_reason: &str) -> Turn {
        Turn {
            text: text.to_owned(),
            tool_uses: Vec::new(),
            stop_reason: stop_reason.to_owned(),
            tokens: Tokens::default(),
        }
    }

    #[test]
    fn a_cut_answer_says_so_and_an_empty_one_is_an_error() {
        let cut = answer(turn("Half of", "max_tokens")).unwrap();
        assert_eq!(cut, Answer::Text("Half of\n\n[The answer was cut off at the model's limit.]".into()));
        assert_eq!(answer(turn("Five.", "end_turn")).unwrap(), Answer::Text("Five.".into()));
        let error = answer(turn(" ", "content_filtered")).unwrap_err();
        assert!(error.to_string().contains("content_filtered"), "{error}");
    }
}
