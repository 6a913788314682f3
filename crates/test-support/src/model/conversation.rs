//! The scripted model: decides its next turn from a conversation.
//!
//! Knows neither API. Called by [`super`] with the conversations that [`super::requests`] reads.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value, json};

/// The number of faults returned so far, by query and step.
#[derive(Clone, Default)]
pub(super) struct Faults(Arc<Mutex<HashMap<(String, usize), u64>>>);

impl Faults {
    /// Returns true if this step of the query has had fewer than `times` faults, and counts one more.
    fn is_due(&self, query: &str, step: usize, times: u64) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((query.to_owned(), step)).or_default();
        *count += 1;
        *count <= times
    }
}

/// A conversation, read from a request of either API.
pub(super) struct Conversation {
    /// The system prompt.
    pub(super) system: String,
    /// The guardrail's configuration as JSON.
    pub(super) guardrail: String,
    /// The first message of the user.
    pub(super) query: String,
    /// Number of turns that the model has had.
    pub(super) turns: usize,
    pub(super) tools: Vec<Tool>,
    /// The tool results of the last turn, in order: text and status.
    pub(super) results: Vec<(String, &'static str)>,
}

/// A tool that the model may call.
pub(super) struct Tool {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) schema: Value,
}

/// The model's next turn.
pub(super) enum Step {
    /// Calls of tools: names and arguments.
    Call(Vec<(String, Value)>),
    /// A text.
    Say(String),
    /// An error: HTTP status, type and message.
    Fault(u16, String, String),
}

impl Conversation {
    fn step(&self) -> Option<Value> {
        script(&self.query)?.get(self.turns).cloned()
    }

    /// Returns the delay before the next turn.
    pub(super) fn wait(&self) -> Duration {
        Duration::from_millis(self.step().and_then(|step| step["wait_ms"].as_u64()).unwrap_or_default())
    }

    /// Returns the next turn: of the script, or improvised without one.
    pub(super) fn next(&self, faults: &Faults) -> Step {
        match (script(&self.query), self.step()) {
            (Some(_), Some(step)) => self.scripted(&step, faults),
            (Some(_), None) => Step::Say(self.fill("The script has ended; the last result was {result}")),
            (None, _) if self.results.is_empty() && !self.tools.is_empty() => self.improvised(),
            (None, _) => Step::Say(
                self.fill("The tool answered: {result}. (This is the scripted stand-in for a model.)"),
            ),
        }
    }

    fn scripted(&self, step: &Value, faults: &Faults) -> Step {
        let call = |step: &Value| {
            let name = step["call"].as_str().unwrap_or_default().to_owned();
            let mut input = step.get("with").cloned().unwrap_or_else(|| json!({}));
            if let Some(padding) = step["padding"].as_u64() {
                input["padding"] = "x".repeat(usize::try_from(padding).unwrap_or_default()).into();
            }
            (name, input)
        };
        if let Some(fault) = step.get("fault") {
            let times = fault["times"].as_u64().unwrap_or(u64::MAX);
            if faults.is_due(&self.query, self.turns, times) {
                let status =
                    fault["status"].as_u64().and_then(|status| u16::try_from(status).ok()).unwrap_or(500);
                let kind = fault["type"].as_str().unwrap_or("InternalServerException").to_owned();
                return Step::Fault(
                    status,
                    kind,
                    fault["message"].as_str().unwrap_or("scripted fault").to_owned(),
                );
            }
        }
        if let Some(text) = step["say"].as_str() {
            let padding = usize::try_from(step["padding"].as_u64().unwrap_or_default()).unwrap_or_default();
            Step::Say(self.fill(text) + &"x".repeat(padding))
        } else if let Some(calls) = step["calls"].as_array() {
            Step::Call(calls.iter().map(call).collect())
        } else {
            Step::Call(vec![call(step)])
        }
    }

    /// Calls the tool whose name and description share most words with the query. The arguments are the numbers and the
    /// capitalised words of the query.
    fn improvised(&self) -> Step {
        let query = self.query.to_lowercase();
        let words: Vec<&str> =
            query.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2).collect();
        let fit = |tool: &&Tool| {
            let about = format!("{} {}", tool.name, tool.description).to_lowercase();
            words.iter().filter(|word| about.contains(*word)).count()
        };
        let Some(tool) = self.tools.iter().max_by_key(fit) else { return Step::Say(String::new()) };
        let mut numbers = self
            .query
            .split(|c: char| !(c.is_ascii_digit() || c == '.'))
            .filter_map(|n| n.parse::<f64>().ok());
        let name = self
            .query
            .split(|c: char| !(c.is_alphabetic() || c == ' '))
            .map(capitalised)
            .max_by_key(String::len);
        let mut input = Map::new();
        for (field, schema) in tool.schema["properties"].as_object().into_iter().flatten() {
            let value = match schema["type"].as_str() {
                Some("number" | "integer") => numbers.next().map_or(Value::Null, Into::into),
                _ => name.clone().unwrap_or_default().into(),
            };
            input.insert(field.clone(), value);
        }
        Step::Call(vec![(tool.name.clone(), Value::Object(input))])
    }

    /// Replaces the placeholders in a text of the script.
    fn fill(&self, text: &str) -> String {
        let (result, status) =
            self.results.last().map_or(("", "none"), |(text, status)| (text.as_str(), *status));
        let tools: Vec<&str> = self.tools.iter().map(|tool| tool.name.as_str()).collect();
        text.replace("{bytes}", &result.len().to_string())
            .replace(
                "{results}",
                &self.results.iter().map(|(text, _)| text.as_str()).collect::<Vec<_>>().join(" | "),
            )
            .replace("{result}", result)
            .replace("{status}", status)
            .replace("{system}", &self.system)
            .replace("{guardrail}", &self.guardrail)
            .replace("{tools}", &tools.join(","))
            .replace("{query}", &self.query)
    }
}

/// Returns the capitalised words after the first word of a text: usually a name.
fn capitalised(text: &str) -> String {
    let is_name = |word: &&str| word.chars().next().is_some_and(char::is_uppercase);
    let names: Vec<&str> = text.split(' ').skip(1).filter(is_name).collect();
    names.join(" ")
}

/// Reads the steps of the script in a query; `None` if it has none.
fn script(query: &str) -> Option<Vec<Value>> {
    let (_, script) = query.split_once("script:")?;
    let steps: Vec<Value> = serde_json::Deserializer::from_str(script).into_iter().next()?.ok()?;
    let times = |step: &Value| step["repeat"].as_u64().and_then(|times| times.try_into().ok()).unwrap_or(1);
    Some(steps.into_iter().flat_map(|step| std::iter::repeat_n(step.clone(), times(&step))).collect())
}
