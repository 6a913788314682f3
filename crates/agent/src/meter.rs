//! The meter of a run: counts model turns, tool calls and tokens, and holds them to budgets.
//!
//! A run has one meter, which its sub-agents share. A budget is checked before a turn or a call. The tokens of a turn
//! are known only afterwards, so that one turn may exceed a budget of tokens. The deadline of a run is not checked
//! here, see [`crate::RunLimits`].

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use run_record::Usage;

/// The budgets of one run. The error for a used-up budget names the budget's environment variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budgets {
    /// Most model turns, from `MAX_MODEL_TURNS`.
    pub model_turns: u64,
    /// Most tool calls, calls of sub-agents included, from `MAX_TOOL_CALLS`.
    pub tool_calls: u64,
    /// Most input tokens of all turns together, from `MAX_INPUT_TOKENS`.
    pub input_tokens: u64,
    /// Most output tokens of all turns together, from `MAX_OUTPUT_TOKENS`.
    pub output_tokens: u64,
}

/// The error for a budget that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the budget {variable} of {limit} is used up")]
pub struct BudgetExceeded {
    /// The environment variable that sets the budget.
    pub variable: &'static str,
    /// The value of the budget.
    pub limit: u64,
}

/// The tokens that one model turn used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) input: u64,
    pub(crate) output: u64,
    pub(crate) cached: u64,
}

/// A part of a run whose time is counted separately.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Connecting,
    ListingTools,
    Model,
    Tools,
}

/// The meter of one run.
#[derive(Debug)]
pub struct Meter {
    budgets: Budgets,
    used: Mutex<Used>,
}

#[derive(Debug, Default)]
struct Used {
    tokens: Tokens,
    model_turns: u64,
    tool_calls: u64,
    calls_by_server: BTreeMap<String, u64>,
    milliseconds: BTreeMap<Step, u64>,
}

impl Default for Budgets {
    /// Returns 60 turns, 200 calls, ten million input tokens and one million output tokens. The first two end a model
    /// that repeats itself. The tokens are far more than a useful answer needs, and limit the costs of one run.
    fn default() -> Self {
        Self { model_turns: 60, tool_calls: 200, input_tokens: 10_000_000, output_tokens: 1_000_000 }
    }
}

impl Budgets {
    /// Reads the budgets: calls `limit` with the name of each budget's variable and its default.
    pub fn read(mut limit: impl FnMut(&'static str, u64) -> u64) -> Self {
        let defaults = Self::default();
        Self {
            model_turns: limit("MAX_MODEL_TURNS", defaults.model_turns),
            tool_calls: limit("MAX_TOOL_CALLS", defaults.tool_calls),
            input_tokens: limit("MAX_INPUT_TOKENS", defaults.input_tokens),
            output_tokens: limit("MAX_OUTPUT_TOKENS", defaults.output_tokens),
        }
    }
}

impl Meter {
    /// A meter at zero.
    pub fn new(budgets: Budgets) -> Self {
        Self { budgets, used: Mutex::default() }
    }

    /// Returns what the run has used so far: the `usage` of a job.
    pub fn usage(&self) -> Usage {
        let used = self.used();
        let milliseconds = used.milliseconds.iter().map(|(step, ms)| (step.as_str().to_owned(), *ms));
        Usage {
            input_tokens: used.tokens.input,
            output_tokens: used.tokens.output,
            cached_tokens: used.tokens.cached,
            model_turns: used.model_turns,
            tool_calls: used.calls_by_server.clone(),
            milliseconds: milliseconds.collect(),
        }
    }

    /// Counts a model turn that is about to start.
    ///
    /// # Errors
    /// [`BudgetExceeded`] if a budget of turns or tokens is used up. The turn must not start then.
    pub(crate) fn start_turn(&self) -> Result<(), BudgetExceeded> {
        let mut used = self.used();
        within("MAX_INPUT_TOKENS", used.tokens.input, self.budgets.input_tokens)?;
        within("MAX_OUTPUT_TOKENS", used.tokens.output, self.budgets.output_tokens)?;
        within("MAX_MODEL_TURNS", used.model_turns, self.budgets.model_turns)?;
        used.model_turns += 1;
        Ok(())
    }

    /// Adds the tokens of the turn that has ended.
    pub(crate) fn end_turn(&self, tokens: Tokens) {
        let mut used = self.used();
        used.tokens.input += tokens.input;
        used.tokens.output += tokens.output;
        used.tokens.cached += tokens.cached;
    }

    /// Counts a call that is about to start. `server` is the URL of the tool's server, or the id of a sub-agent.
    ///
    /// # Errors
    /// [`BudgetExceeded`] if the budget of calls is used up. The call must not start then.
    pub(crate) fn start_call(&self, server: &str) -> Result<(), BudgetExceeded> {
        let mut used = self.used();
        within("MAX_TOOL_CALLS", used.tool_calls, self.budgets.tool_calls)?;
        used.tool_calls += 1;
        *used.calls_by_server.entry(server.to_owned()).or_default() += 1;
        Ok(())
    }

    /// Adds the time that a step took.
    pub(crate) fn add_time(&self, step: Step, time: Duration) {
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        *self.used().milliseconds.entry(step).or_default() += milliseconds;
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Step {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::ListingTools => "listingTools",
            Self::Model => "model",
            Self::Tools => "tools",
        }
    }
}

fn within(variable: &'static str, used: u64, limit: u64) -> Result<(), BudgetExceeded> {
    if used < limit { Ok(()) } else { Err(BudgetExceeded { variable, limit }) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(spend: impl Fn(&Meter) -> Result<(), BudgetExceeded>, variable: &str) {
        let budgets = Budgets { model_turns: 2, tool_calls: 2, input_tokens: 150, output_tokens: 150 };
        let meter = Meter::new(budgets);
        let error = (0..4).find_map(|_| spend(&meter).err()).expect(variable);
        assert_eq!(error.variable, variable);
    }

    #[test]
    fn the_error_names_the_budget_that_is_used_up() {
        let turn = |tokens: Tokens| move |meter: &Meter| meter.start_turn().map(|()| meter.end_turn(tokens));
        check(turn(Tokens::default()), "MAX_MODEL_TURNS");
        check(turn(Tokens { input: 200, ..Tokens::default() }), "MAX_INPUT_TOKENS");
        check(turn(Tokens { output: 200, ..Tokens::default() }), "MAX_OUTPUT_TOKENS");
        check(|meter| meter.start_call("https://a.example"), "MAX_TOOL_CALLS");
    }

    #[test]
    fn usage_counts_calls_by_server_and_time_by_step() {
        let meter = Meter::new(Budgets::default());
        meter.start_turn().unwrap();
        meter.end_turn(Tokens { input: 100, output: 10, cached: 7 });
        meter.start_call("https://a.example").unwrap();
        meter.start_call("https://a.example").unwrap();
        meter.add_time(Step::Model, Duration::from_millis(20));
        meter.add_time(Step::Model, Duration::from_millis(5));
        let expected = json!({
            "inputTokens": 100, "outputTokens": 10, "cachedTokens": 7, "modelTurns": 1,
            "toolCalls": {"https://a.example": 2}, "milliseconds": {"model": 25},
        });
        assert_eq!(json!(meter.usage()), expected);
    }
}
