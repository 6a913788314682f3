//! The result of `tools/call`, adapted to rmcp's types without losing content.
//!
//! The call may have had its effect, so its result is never dropped for its form. Content blocks that fit are kept. A
//! block that fits without its annotations is kept without them. Any other block becomes a text block with its JSON.
//! Called by [`super::answer`].

use rmcp::model::ContentBlock;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The members of a result that MCP defines. All other members are content that a server has put in the wrong place.
const DEFINED_MEMBERS: [&str; 5] = ["_meta", "isError", "resultType", "content", "structuredContent"];

/// Returns the result in the form that rmcp can parse.
pub(super) fn adapt(result: Value) -> Value {
    let fields = match result {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        // A result that is not an object can only be content.
        other => Map::from_iter([("content".to_owned(), other)]),
    };
    if fields.get("resultType").and_then(Value::as_str) == Some("input_required") {
        return Value::Object(fields);
    }
    let mut adapted = json!({"content": content(&fields)});
    if let Some(structured) = fields.get("structuredContent") {
        adapted["structuredContent"] = structured.clone();
    }
    if let Some(is_error) = fields.get("isError").and_then(boolean) {
        adapted["isError"] = is_error.into();
    }
    if let Some(meta @ Value::Object(_)) = fields.get("_meta") {
        adapted["_meta"] = meta.clone();
    }
    adapted
}

fn content(fields: &Map<String, Value>) -> Vec<Value> {
    match fields.get("content") {
        Some(Value::Array(blocks)) => blocks.iter().map(block).collect(),
        Some(Value::Null) | None => match whole_as_text(fields) {
            Some(text) => vec![text],
            None => Vec::new(),
        },
        Some(single) => vec![block(single)],
    }
}

/// Returns the undefined members of a result as a text block, if it has some and no content or structured content.
fn whole_as_text(fields: &Map<String, Value>) -> Option<Value> {
    let is_structured = fields.contains_key("structuredContent");
    let rest: Map<String, Value> =
        fields.iter().filter(|(name, _)| !DEFINED_MEMBERS.contains(&name.as_str())).map(owned).collect();
    (!is_structured && !rest.is_empty()).then(|| text(Value::Object(rest).to_string()))
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

/// Returns a content block in a form that rmcp can parse.
fn block(given: &Value) -> Value {
    if let Value::String(given) = given {
        return text(given.clone());
    }
    let fits = |block: &Value| ContentBlock::deserialize(block).is_ok();
    let Value::Object(fields) = given else { return text(given.to_string()) };
    let non_null: Map<String, Value> =
        fields.iter().filter(|(_, value)| !value.is_null()).map(owned).collect();
    let without_annotations: Map<String, Value> = non_null
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "annotations" | "_meta"))
        .map(owned)
        .collect();
    let candidates = [Value::Object(non_null), Value::Object(without_annotations)];
    candidates.into_iter().find(fits).unwrap_or_else(|| text(given.to_string()))
}

fn text(text: String) -> Value {
    json!({"type": "text", "text": text})
}

/// Reads a boolean that may be written as a string or a number; `None` for any other value.
fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        Value::Number(number) => Some(number.as_f64()? != 0.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rmcp::model::CallToolResult;

    use super::*;

    fn check(result: Value, expected: Value) {
        let adapted = adapt(result.clone());
        assert_eq!(adapted, expected, "{result}");
        CallToolResult::deserialize(&adapted).unwrap();
    }

    fn says(words: &str) -> Value {
        json!({"type": "text", "text": words})
    }

    #[test]
    fn a_result_that_fits_is_unchanged() {
        let good = json!({"content": [says("a"), {"type": "image", "data": "AAAA", "mimeType": "image/png"},
            {"type": "resource_link", "uri": "file:///a", "name": "a"}], "structuredContent": {"a": 1}, "isError": true});
        check(good.clone(), good);
    }

    #[test]
    fn a_block_that_does_not_fit_becomes_its_json_text_and_the_others_stay() {
        for odd in [
            json!({"type": "hologram", "data": [1]}),
            json!({"type": "resource_link", "uri": "file:///a"}),
            json!({"type": "image", "data": "AAAA"}),
            json!({"type": "text", "text": 7}),
            json!({"type": "resource", "resource": {"uri": "a"}}),
            json!(7),
            json!(null),
        ] {
            let given = json!({"content": [says("good"), odd, says("also good")]});
            check(given, json!({"content": [says("good"), says(&odd.to_string()), says("also good")]}));
        }
        check(json!({"content": ["bare"]}), json!({"content": [says("bare")]}));
        let annotated =
            json!({"type": "text", "text": "a", "annotations": {"priority": "high"}, "_meta": null});
        check(json!({"content": [annotated]}), json!({"content": [says("a")]}));
    }

    #[test]
    fn content_in_another_form_becomes_content_blocks() {
        check(json!({"content": "words"}), json!({"content": [says("words")]}));
        check(json!({"content": says("one")}), json!({"content": [says("one")]}));
        check(json!({"content": null}), json!({"content": []}));
        check(json!(null), json!({"content": []}));
        check(json!("words"), json!({"content": [says("words")]}));
        check(json!([says("a")]), json!({"content": [says("a")]}));
        check(json!({"toolResult": 5, "_meta": 7}), json!({"content": [says("{\"toolResult\":5}")]}));
    }

    #[test]
    fn flags_and_structured_content_of_any_type_are_accepted() {
        for (given, is_error) in
            [(json!("false"), false), (json!("True"), true), (json!(1), true), (json!(0), false)]
        {
            check(json!({"content": [], "isError": given}), json!({"content": [], "isError": is_error}));
        }
        check(json!({"content": [], "isError": null}), json!({"content": []}));
        for structured in [json!(5), json!([1]), json!("x"), json!(true), json!(null)] {
            check(
                json!({"structuredContent": structured}),
                json!({"content": [], "structuredContent": structured}),
            );
        }
        // Members of other result types must not make rmcp parse it as one of those.
        check(json!({"content": [], "messages": [], "tools": []}), json!({"content": []}));
    }
}
