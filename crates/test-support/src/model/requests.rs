//! Reads conversations from the requests of Converse and of chat completions. Called by [`super`].

use serde_json::Value;

use super::conversation::{Conversation, Tool};

/// Reads a request of Converse.
pub(super) fn from_converse(request: &Value) -> Conversation {
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    let blocks = |message: &Value| message["content"].as_array().cloned().unwrap_or_default();
    let results = messages.last().map(blocks).unwrap_or_default().into_iter().filter_map(|block| {
        let result = block.get("toolResult")?;
        let pieces = result["content"].as_array()?.iter().map(piece);
        Some((
            pieces.collect::<Vec<_>>().join("\n"),
            if result["status"] == "error" { "error" } else { "success" },
        ))
    });
    let tools =
        request["toolConfig"]["tools"].as_array().cloned().unwrap_or_default().into_iter().map(|tool| Tool {
            name: text(&tool["toolSpec"]["name"]),
            description: text(&tool["toolSpec"]["description"]),
            schema: tool["toolSpec"]["inputSchema"]["json"].clone(),
        });
    Conversation {
        system: text(&request["system"][0]["text"]),
        guardrail: request["guardrailConfig"].to_string(),
        query: messages.first().map(blocks).map(|blocks| text(&blocks[0]["text"])).unwrap_or_default(),
        turns: messages.iter().filter(|message| message["role"] == "assistant").count(),
        tools: tools.collect(),
        results: results.collect(),
    }
}

/// Returns a piece of a tool result: its text, or the kind and format of an image or document.
fn piece(piece: &Value) -> String {
    let named = |kind: &str| Some(format!("[{kind} {}]", piece.get(kind)?["format"].as_str()?));
    let media = named("image").or_else(|| named("document"));
    media.unwrap_or_else(|| text(&piece["text"]))
}

/// Reads a request of chat completions.
pub(super) fn from_chat(request: &Value) -> Conversation {
    let messages = request["messages"].as_array().cloned().unwrap_or_default();
    let of_role = |role: &'static str| messages.iter().filter(move |message| message["role"] == role);
    let tools = request["tools"].as_array().cloned().unwrap_or_default().into_iter().map(|tool| Tool {
        name: text(&tool["function"]["name"]),
        description: text(&tool["function"]["description"]),
        schema: tool["function"]["parameters"].clone(),
    });
    Conversation {
        guardrail: String::new(),
        system: of_role("system").next().map(content).unwrap_or_default(),
        query: of_role("user").next().map(content).unwrap_or_default(),
        turns: of_role("assistant").count(),
        tools: tools.collect(),
        results: of_role("tool").map(|message| (content(message), "unknown")).collect(),
    }
}

/// Returns the text of a chat message, which is a string or a list of parts.
fn content(message: &Value) -> String {
    match &message["content"] {
        Value::Array(parts) => parts.iter().map(|part| text(&part["text"])).collect(),
        plain => text(plain),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
