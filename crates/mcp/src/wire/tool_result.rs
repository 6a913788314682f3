//! What `tools/call` gave, made to fit rmcp's types without losing any of it.
//!
//! A call may have had its effect, so its result is never thrown away for its form. Content blocks that fit
//! stay; a block that fits once its annotations are left out stays without them; any other is given as its
//! JSON text.

use rmcp::model::ContentBlock;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Members of a result that are not content.
const BESIDE_CONTENT: [&str; 5] = ["_meta", "isError", "resultType", "content", "structuredContent"];

/// The result as rmcp takes it.
pub(super) fn mend(result: Value) -> Value {
    let fields = match result {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        // A result that is no object can only be meant as content.
        other => Map::from_iter([("content".to_owned(), other)]),
    };
    if fields.get("resultType").and_then(Value::as_str) == Some("input_required") {
        return Value::Object(fields);
    }
    let mut mended = json!({"content": content(&fields)});
    if let Some(structured) = fields.get("structuredContent") {
        mended["structuredContent"] = structured.clone();
    }
    if let Some(is_error) = fields.get("isError").and_then(truth) {
        mended["isError"] = is_error.into();
    }
    if let Some(meta @ Value::Object(_)) = fields.get("_meta") {
        mended["_meta"] = meta.clone();
    }
    mended
}

fn content(fields: &Map<String, Value>) -> Vec<Value> {
    match fields.get("content") {
        Some(Value::Array(blocks)) => blocks.iter().map(block).collect(),
        Some(Value::Null) | None => match whole(fields) {
            Some(text) => vec![text],
            None => Vec::new(),
        },
        Some(single) => vec![block(single)],
    }
}

/// The whole result as text, where it has members but neither content nor structured content.
fn whole(fields: &Map<String, Value>) -> Option<Value> {
    let is_structured = fields.contains_key("structuredContent");
    let rest: Map<String, Value> =
        fields.iter().filter(|(name, _)| !BESIDE_CONTENT.contains(&name.as_str())).map(owned).collect();
    (!is_structured && !rest.is_empty()).then(|| text(Value::Object(rest).to_string()))
}

fn owned((name, value): (&String, &Value)) -> (String, Value) {
    (name.clone(), value.clone())
}

fn block(given: &Value) -> Value {
    if let Value::String(given) = given {
        return text(given.clone());
    }
    let fits = |block: &Value| ContentBlock::deserialize(block).is_ok();
    let Value::Object(fields) = given else { return text(given.to_string()) };
    let bare: Map<String, Value> = fields.iter().filter(|(_, value)| !value.is_null()).map(owned).collect();
    let plain: Map<String, Value> = bare
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "annotations" | "_meta"))
        .map(owned)
        .collect();
    let tries = [Value::Object(bare), Value::Object(plain)];
    tries.into_iter().find(fits).unwrap_or_else(|| text(given.to_string()))
}

fn text(text: String) -> Value {
    json!({"type": "text", "text": text})
}

/// A truth value in whatever form it is written; `None` for what is none.
fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
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
        let mended = mend(result.clone());
        assert_eq!(mended, expected, "{result}");
        CallToolResult::deserialize(&mended).unwrap();
    }

    fn says(words: &str) -> Value {
        json!({"type": "text", "text": words})
    }

    #[test]
    fn what_fits_stays() {
        let good = json!({"content": [says("a"), {"type": "image", "data": "AAAA", "mimeType": "image/png"},
            {"type": "resource_link", "uri": "file:///a", "name": "a"}], "structuredContent": {"a": 1}, "isError": true});
        check(good.clone(), good);
    }

    #[test]
    fn an_odd_block_becomes_its_json_text_and_its_neighbours_stay() {
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
    fn content_in_another_form_is_content() {
        check(json!({"content": "words"}), json!({"content": [says("words")]}));
        check(json!({"content": says("one")}), json!({"content": [says("one")]}));
        check(json!({"content": null}), json!({"content": []}));
        check(json!(null), json!({"content": []}));
        check(json!("words"), json!({"content": [says("words")]}));
        check(json!([says("a")]), json!({"content": [says("a")]}));
        check(json!({"toolResult": 5, "_meta": 7}), json!({"content": [says("{\"toolResult\":5}")]}));
    }

    #[test]
    fn flags_and_structures_of_any_type_are_taken() {
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
        // Members of other results must not make rmcp take it for one of those.
        check(json!({"content": [], "messages": [], "tools": []}), json!({"content": []}));
    }
}
