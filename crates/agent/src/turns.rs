//! The loop that every agent and the orchestrator share: model, calls, model, until it answers.
//!
//! Only single turns of a model are retried, never a call that may have had an effect. A throttled or
//! failing model is asked again after a growing pause, within the run's time, and the transcript says so;
//! a conversation that has outgrown the model's context loses its oldest tool results first.

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

/// How many calls of one turn run at once: as many as a dozen agents and some.
const MAX_CALLS_AT_ONCE: usize = 16;
/// How often one turn is asked for in all. With the pauses below that is a minute of throttling.
const MAX_TRIES: u32 = 8;
/// The pause before the second try, doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(16);

/// Who talks to the model, about what, and where it is noted.
pub(crate) struct Talk<'a, N> {
    pub(crate) run: &'a Run<'a, N>,
    pub(crate) watch: &'a Watch,
    pub(crate) transcript: &'a Transcript,
}

impl<N: EffectNote> Talk<'_, N> {
    /// Lets the model answer `query`, with `call` for the tools that it asks for. What `call` gives as an
    /// error ends the run; what the model can answer with is a result.
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

    /// One turn, asked for until it is had.
    async fn turn(&self, conversation: &mut Conversation) -> Result<Turn, RunError<N::Error>> {
        let mut pause = FIRST_PAUSE;
        let mut tries = 1;
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
                Err(error) if error.may_be_about_media() && conversation.tell_media_in_words() => {
                    tracing::warn!(%error, "External MCP: the model takes no such image or document, which it is told in words");
                }
                Err(error) if error.is_passing() && tries < MAX_TRIES => {
                    self.note_pause(&error);
                    // Full jitter: many jobs that were throttled together must not come back together.
                    let jittered = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                    self.watch.within("waiting for the model", tokio::time::sleep(jittered)).await?;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    tries += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Notes that the model is asked again, in the shape that the page shows.
    fn note_pause(&self, error: &ModelError) {
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

    pub(crate) async fn timed<T>(
        &self,
        step: Step,
        name: &str,
        work: impl Future<Output = T>,
    ) -> Result<T, RunError<N::Error>> {
        let started = tokio::time::Instant::now();
        let outcome = self.watch.within(name, work).await;
        self.run.meter.took(step, started.elapsed());
        outcome
    }
}

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
    fn a_cut_answer_says_so_and_a_silent_one_is_a_fault() {
        let cut = answer(turn("Half of", "max_tokens")).unwrap();
        assert_eq!(cut, Answer::Text("Half of\n\n[The answer was cut off at the model's limit.]".into()));
        assert_eq!(answer(turn("Five.", "end_turn")).unwrap(), Answer::Text("Five.".into()));
        let error = answer(turn(" ", "content_filtered")).unwrap_err();
        assert!(error.to_string().contains("content_filtered"), "{error}");
    }
}
