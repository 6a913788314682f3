//! What happened in a run, message by message, in the shape the page reads.
//!
//! One writer, so the order is the order of events and the numbers have no gap. Tool results are told
//! by their outcome alone, as the original does; what they held is the model's to retell.

use jiff::Timestamp;
use serde_json::{Value, json};

/// The messages of one run: `agent_messages` of its job.
#[derive(Debug, Default)]
pub struct Transcript {
    messages: Vec<Value>,
}

impl Transcript {
    /// What the user asked.
    pub(crate) fn user(&mut self, query: &str, now: Timestamp) {
        self.push("user", "message", json!([{"text": query}]), now);
    }

    /// What the model said: its text and the tools it asked for.
    pub(crate) fn assistant(&mut self, content: Vec<Value>, now: Timestamp) {
        self.push("assistant", "message", Value::Array(content), now);
    }

    /// That a tool came back.
    pub(crate) fn tool(&mut self, tool_name: &str, is_error: bool, now: Timestamp) {
        let status = if is_error { "error" } else { "success" };
        let content = format!("Tool completed with status '{status}'.");
        self.push("tool", "tool_result", content.into(), now);
        if let Some(message) = self.messages.last_mut() {
            message["tool_name"] = tool_name.into();
        }
    }

    /// The messages so far.
    pub fn messages(&self) -> &[Value] {
        &self.messages
    }

    fn push(&mut self, role: &str, message_type: &str, content: Value, now: Timestamp) {
        self.messages.push(json!({
            "role": role,
            "content": content,
            "message_type": message_type,
            "timestamp": jobs::timestamp(now),
            "sequence_number": self.messages.len() + 1,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_pages_shape() {
        let mut transcript = Transcript::default();
        let now = Timestamp::UNIX_EPOCH;
        transcript.user("What is 2 + 3?", now);
        let tool_use = json!({"toolUse": {"toolUseId": "t1", "name": "add", "input": {"a": 2, "b": 3}}});
        transcript.assistant(vec![json!({"text": "I add."}), tool_use], now);
        transcript.tool("add", false, now);
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
            "timestamp": "1970-01-01T00:00:00.000000Z",
            "sequence_number": 3,
            "tool_name": "add"
          }
        ]
        "#);
    }
}
