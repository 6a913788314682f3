//! Prints the transcript of a run on standard error while it grows, one line per message.

use std::{cell::Cell, convert::Infallible, time::Duration};

use agent::Transcript;
use serde_json::Value;

use crate::{
    report::printable,
    style::{ODD, QUIET, styled},
};

/// Interval between checks for new messages, in milliseconds. A reader does not notice the delay.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum length of a message as it is printed, in characters: about two lines of a terminal.
const MAX_SHOWN: usize = 200;

/// The printed view of one transcript. It knows how many messages it has printed.
pub(crate) struct TranscriptView<'a> {
    transcript: &'a Transcript,
    shown: Cell<usize>,
}

impl<'a> TranscriptView<'a> {
    pub(crate) fn new(transcript: &'a Transcript) -> Self {
        Self { transcript, shown: Cell::new(0) }
    }

    /// Prints each new message. Never returns.
    pub(crate) async fn follow(&self) -> Infallible {
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            self.show_new();
        }
    }

    /// Prints the messages that were not printed yet.
    pub(crate) fn show_new(&self) {
        if self.transcript.count() == self.shown.get() {
            return;
        }
        for message in self.transcript.messages().iter().skip(self.shown.get()) {
            for line in lines(message) {
                anstream::eprintln!("{line}");
            }
        }
        self.shown.set(self.transcript.count());
    }
}

/// Returns the lines of a message: one for each text, tool use or result in it.
fn lines(message: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let role = text(&message["role"]);
    let agent = message["agent_id"].as_str().map(|id| format!("{} ", printable(id))).unwrap_or_default();
    let style = match role.as_str() {
        "exception" => ODD,
        _ => QUIET,
    };
    let line = |what: &str| format!("{:<10} {agent}{}", styled(style, &role), cut(what));
    match &message["content"] {
        Value::Array(blocks) => blocks
            .iter()
            .map(|block| match block.get("toolUse") {
                Some(tool_use) => line(&format!("calls {} {}", text(&tool_use["name"]), tool_use["input"])),
                None => line(&text(&block["text"])),
            })
            .collect(),
        content => match message["tool_name"].as_str() {
            Some(tool) => vec![line(&format!("{tool}: {}", text(content)))],
            None => vec![line(&text(content))],
        },
    }
}

/// Returns a text on one line, cut at [`MAX_SHOWN`].
fn cut(text: &str) -> String {
    let text = printable(&text.split_whitespace().collect::<Vec<_>>().join(" "));
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The lines without their colours.
    fn plain(message: &Value) -> Vec<String> {
        lines(message).iter().map(|line| anstream::adapter::strip_str(line).to_string()).collect()
    }

    #[test]
    fn each_block_is_one_line_without_control_characters() {
        let tool_use = json!({"toolUse": {"name": "add", "input": {"a": 2}}});
        let message = json!({"role": "assistant", "content": [{"text": "I\nadd.\u{1b}[2J"}, tool_use], "agent_id": "calc"});
        assert_eq!(
            plain(&message),
            ["assistant  calc I add.\u{fffd}[2J", "assistant  calc calls add {\"a\":2}"]
        );
        let result = json!({"role": "tool", "content": "Tool completed.", "tool_name": "add"});
        assert_eq!(plain(&result), ["tool       add: Tool completed."]);
    }

    #[test]
    fn a_long_text_is_cut() {
        let shown = cut(&"ä".repeat(500));
        assert_eq!(shown.chars().count(), MAX_SHOWN + 2);
    }
}
