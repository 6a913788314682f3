//! The transcript: the messages of a run, in the shape that the page reads.
//!
//! All agents of a run write to one list under one lock, so that the messages are in the order of events and their
//! numbers have no gap. A tool message has the outcome of the call, not the content of the result, as in the
//! accelerator.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use run_record::{MediaNote, Message, MessageContent, ThrottlingDetails};
use serde_json::{Value, json};

use crate::{model::ToolResult, result::Part};

/// The messages of one run: `agent_messages` of its job. Clones write to the same list.
#[derive(Debug, Clone, Default)]
pub struct Transcript {
    messages: Arc<Mutex<Vec<Value>>>,
    /// The agent that writes to this clone, if the run has several agents.
    agent_id: Option<String>,
}

impl Transcript {
    /// Returns a clone whose messages carry the id of one of several agents.
    pub(crate) fn of_agent(&self, agent_id: &str) -> Self {
        Self { messages: self.messages.clone(), agent_id: Some(agent_id.to_owned()) }
    }

    /// Adds the user's query.
    pub(crate) fn user(&self, query: &str, now: Timestamp) {
        self.message("user", vec![json!({"text": query})], now);
    }

    /// Adds a turn of the model: its text and the tool calls that it requests.
    pub(crate) fn assistant(&self, content: Vec<Value>, now: Timestamp) {
        self.message("assistant", content, now);
    }

    /// Adds the outcome of a tool call, with type and size of the images and documents in the result.
    pub(crate) fn tool(&self, tool_name: &str, result: &ToolResult, now: Timestamp) {
        let status = if result.is_error { "error" } else { "success" };
        let media = result.parts.iter().filter_map(|part| match part {
            Part::Media(media) => {
                Some(MediaNote { mime_type: media.mime_type.to_owned(), bytes: media.bytes.len() })
            }
            Part::Text(_) => None,
        });
        let message = Message {
            role: "tool",
            content: MessageContent::Text(format!("Tool completed with status '{status}'.")),
            message_type: "tool_result",
            tool_name: Some(tool_name.to_owned()),
            media: media.collect(),
            ..Message::default()
        };
        self.push(message, now);
    }

    /// Adds a note that the model was throttled or failed, and that the run repeats the request.
    pub(crate) fn throttled(&self, content: String, details: ThrottlingDetails, now: Timestamp) {
        let message = Message {
            role: "exception",
            content: MessageContent::Text(content),
            message_type: "throttling_exception",
            throttling_details: Some(details),
            ..Message::default()
        };
        self.push(message, now);
    }

    /// Returns the messages so far.
    pub fn messages(&self) -> Vec<Value> {
        self.lock().clone()
    }

    /// Returns the number of messages so far.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    fn message(&self, role: &'static str, parts: Vec<Value>, now: Timestamp) {
        let content = MessageContent::Parts(parts);
        self.push(Message { role, content, message_type: "message", ..Message::default() }, now);
    }

    fn push(&self, mut message: Message, now: Timestamp) {
        let mut messages = self.lock();
        message.timestamp = timestamp(now);
        message.sequence_number = messages.len() + 1;
        message.agent_id.clone_from(&self.agent_id);
        messages.push(json!(message));
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Value>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Formats a time as the accelerator's page reads it: UTC with microseconds, `2026-01-31T09:30:00.000000Z`. Times on
/// the job item have the same form.
pub(crate) fn timestamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result() -> ToolResult {
        ToolResult { id: "t1".into(), parts: Vec::new(), is_error: false }
    }

    #[test]
    fn messages_have_the_shape_that_the_page_reads() {
        let transcript = Transcript::default();
        let now = Timestamp::UNIX_EPOCH;
        transcript.user("What is 2 + 3?", now);
        let tool_use = json!({"toolUse": {"toolUseId": "t1", "name": "add", "input": {"a": 2, "b": 3}}});
        transcript.assistant(vec![json!({"text": "I add."}), tool_use], now);
        transcript.of_agent("calculator").tool("add", &result(), now);
        insta::assert_json_snapshot!(transcript.messages(), @r#"
        [
          {
            "role": "user",
            "content": [
              {
                "text": "What is 2 + 3?"
              }
            ],
            "message_type": "message",
            "timestamp": "1970-01-01T00:00:00.000000Z",
            "sequence_number": 1
          },
          {
            "role": "assistant",
            "content": [
              {
                "text": "I add."
              },
              {
                "toolUse": {
                  "toolUseId": "t1",
                  "name": "add",
                  "input": {
                    "a": 2,
                    "b": 3
                  }
                }
              }
            ],
            "message_type": "message",
            "timestamp": "1970-01-01T00:00:00.000000Z",
            "sequence_number": 2
          },
          {
            "role": "tool",
            "content": "Tool completed with status 'success'.",
            "message_type": "tool_result",
            "tool_name": "add",
            "timestamp": "1970-01-01T00:00:00.000000Z",
            "sequence_number": 3,
            "agent_id": "calculator"
          }
        ]
        "#);
    }

    #[test]
    fn twelve_writers_at_once_lose_nothing_in_a_hundred_trials() {
        for _ in 0..100 {
            let transcript = Transcript::default();
            std::thread::scope(|scope| {
                for writer in 0..12 {
                    let transcript = transcript.of_agent(&writer.to_string());
                    scope.spawn(move || {
                        for n in 0..25 {
                            transcript.tool(&n.to_string(), &result(), Timestamp::UNIX_EPOCH);
                        }
                    });
                }
            });
            let messages = transcript.messages();
            let numbers: Vec<u64> = messages.iter().map(|m| m["sequence_number"].as_u64().unwrap()).collect();
            assert_eq!(numbers, (1..=300).collect::<Vec<_>>());
            for writer in 0..12 {
                let writer = writer.to_string();
                let theirs = messages.iter().filter(|m| m["agent_id"] == *writer);
                let order: Vec<String> =
                    theirs.map(|m| m["tool_name"].as_str().unwrap().to_owned()).collect();
                assert_eq!(order, (0..25).map(|n| n.to_string()).collect::<Vec<_>>());
            }
        }
    }
}
