//! Shows the transcript of a run on standard error while it grows: one line a message.

use std::{cell::Cell, convert::Infallible, time::Duration};

use agent::Transcript;
use serde_json::Value;

use crate::{
    report::printable,
    style::{ODD, QUIET, styled},
};

/// How often new messages are looked for: often enough that a reader takes it for at once.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The most that is shown of one message, in characters: some two lines of a terminal.
const MAX_SHOWN: usize = 200;

/// Shows one transcript; remembers how much of it was shown.
pub(crate) struct TranscriptView<'a> {
    transcript: &'a Transcript,
    shown: Cell<usize>,
}

impl<'a> TranscriptView<'a> {
    pub(crate) fn new(transcript: &'a Transcript) -> Self {
        Self { transcript, shown: Cell::new(0) }
    }

    /// Shows each new message, and never ends.
    pub(crate) async fn follow(&self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.show_new();
        }
    }

    /// Shows the messages that were not shown yet.
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

/// A message as it is shown: a line for each text, tool use or result in it.
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

/// A text on one line, cut at [`MAX_SHOWN`].
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
