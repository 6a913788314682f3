//! The result of `tools/list` (one page), adapted to rmcp's types.
//!
//! A tool without a name or a schema is left out with a note. An optional member that does not fit is removed, and the
//! tool is kept. A tool is left out too if its name, or the name of one of its arguments, contained the credential: the
//! name has been redacted, and the server would not know the redacted name. Does not check whether a model accepts the
//! schema: [`crate::schema`] does. Called by [`super::answer`].

use auth::REDACTED;
use rmcp::model::Tool;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Maximum length of a tool name, in characters. AgentCore's gateway makes names of up to 256 characters.
const MAX_NAME: usize = 256;
/// The optional members of a tool.
const OPTIONAL: [&str; 7] =
    ["title", "description", "outputSchema", "annotations", "icons", "_meta", "execution"];

/// Returns the page in the form that rmcp can parse. Calls `note` for each tool that is left out.
///
/// # Errors
/// What is wrong with the page, beginning with “its”.
pub(super) fn adapt(result: Value, mut note: impl FnMut(String)) -> Result<Value, &'static str> {
    let mut fields = match result {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        list @ Value::Array(_) => Map::from_iter([("tools".to_owned(), list)]),
        _ => return Err("its result is no list of tools"),
    };
    let given = match fields.remove("tools") {
        Some(Value::Array(tools)) => tools,
        // Some servers leave an empty list out, or write it as null.
        Some(Value::Null) | None => Vec::new(),
        Some(_) => return Err("its tools are no array"),
    };
    let mut tools = Vec::with_capacity(given.len());
    for (index, tool) in given.into_iter().enumerate() {
        match adapt_tool(tool) {
            Ok(tool) => tools.push(tool),
            Err(defect) => note(format!("tool {} of a page {defect}", index + 1)),
        }
    }
    let mut page = json!({"tools": tools});
    match fields.remove("nextCursor") {
        Some(Value::String(cursor)) => page["nextCursor"] = cursor.into(),
        // A cursor is opaque: one that came as a number is sent back as its digits.
        Some(Value::Number(cursor)) => page["nextCursor"] = cursor.to_string().into(),
        Some(Value::Null | Value::Bool(false)) | None => {}
        Some(_) => note("further pages: nextCursor is no text".to_owned()),
    }
    Ok(page)
}

/// Returns the tool in the form that rmcp can parse.
///
/// # Errors
/// What is wrong with the tool, worded to follow “tool 3 of a page”.
fn adapt_tool(tool: Value) -> Result<Value, &'static str> {
    let Value::Object(mut tool) = tool else { return Err("has no name") };
    tool.retain(|_, member| !member.is_null());
    let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        return Err("has no name");
    }
    if name.chars().count() > MAX_NAME {
        return Err("has a name longer than 256 characters");
    }
    if name.contains(REDACTED) || tool.get("inputSchema").is_some_and(has_redacted_name) {
        return Err("has a name that holds the credential");
    }
    match tool.get("inputSchema") {
        Some(Value::Object(_)) => {}
        // PHP writes an empty object as an empty array.
        Some(Value::Array(list)) if list.is_empty() => {
            tool.insert("inputSchema".to_owned(), json!({}));
        }
        _ => return Err("has no inputSchema"),
    }
    if let Some(Value::Object(hints)) = tool.get_mut("annotations") {
        hints.retain(|_, hint| !hint.is_null());
    }
    let tool = Value::Object(tool);
    if Tool::deserialize(&tool).is_ok() { Ok(tool) } else { without_unfitting_members(tool) }
}

/// Returns true if a member's name was redacted. The server would not know an argument of that name.
fn has_redacted_name(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.contains(REDACTED) || has_redacted_name(value))
        }
        Value::Array(values) => values.iter().any(has_redacted_name),
        _ => false,
    }
}

/// Returns the tool without the optional members that do not fit.
fn without_unfitting_members(tool: Value) -> Result<Value, &'static str> {
    let Value::Object(fields) = tool else { return Err("has no name") };
    let is_required = |name: &str| !OPTIONAL.contains(&name);
    let mut fitting: Map<String, Value> =
        fields.iter().filter(|(name, _)| is_required(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    for (name, value) in fields {
        if is_required(&name) {
            continue;
        }
        fitting.insert(name.clone(), value);
        if Tool::deserialize(&Value::Object(fitting.clone())).is_err() {
            fitting.remove(&name);
        }
    }
    let fitting = Value::Object(fitting);
    if Tool::deserialize(&fitting).is_ok() { Ok(fitting) } else { Err("has a field of the wrong type") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(result: Value, expected: Value, expected_notes: &[&str]) {
        let mut notes = Vec::new();
        assert_eq!(adapt(result.clone(), |note| notes.push(note)).unwrap(), expected, "{result}");
        assert_eq!(notes, expected_notes, "{result}");
    }

    #[test]
    fn a_malformed_tool_is_left_out_and_the_others_stay() {
        let good = json!({"name": "good", "inputSchema": {"type": "object"}});
        let given = json!({"tools": [good, {"name": "no-schema"}, {"inputSchema": {}}, null, {"name": "n", "inputSchema": null}, good]});
        check(
            given,
            json!({"tools": [good, good]}),
            &[
                "tool 2 of a page has no inputSchema",
                "tool 3 of a page has no name",
                "tool 4 of a page has no name",
                "tool 5 of a page has no inputSchema",
            ],
        );
        let long = json!({"name": "x".repeat(257), "inputSchema": {}});
        check(
            json!({"tools": [long]}),
            json!({"tools": []}),
            &["tool 1 of a page has a name longer than 256 characters"],
        );
    }

    #[test]
    fn a_tool_whose_name_was_redacted_is_left_out() {
        let defect = "tool 1 of a page has a name that holds the credential";
        let schema = json!({"type": "object", "properties": {"a-[credential]": {}}});
        for tool in [
            json!({"name": "get_[credential]", "inputSchema": {}}),
            json!({"name": "get", "inputSchema": schema}),
        ] {
            check(json!({"tools": [tool]}), json!({"tools": []}), &[defect]);
        }
        let described = json!({"name": "get", "description": "as [credential]", "inputSchema": {}});
        check(json!({"tools": [described]}), json!({"tools": [described]}), &[]);
    }

    #[test]
    fn an_optional_member_that_does_not_fit_is_removed_and_the_tool_stays() {
        let bare = json!({"name": "a", "inputSchema": {"type": "object"}});
        for (member, odd) in [
            ("title", json!(7)),
            ("description", json!({"en": "x"})),
            ("annotations", json!({"readOnlyHint": "yes"})),
            ("annotations", json!(null)),
            ("outputSchema", json!("none")),
            ("icons", json!("icon.png")),
            ("_meta", json!(7)),
        ] {
            let mut tool = bare.clone();
            tool[member] = odd;
            check(json!({"tools": [tool]}), json!({"tools": [bare]}), &[]);
        }
        let hints = json!({"name": "a", "inputSchema": {}, "annotations": {"readOnlyHint": true, "title": null}, "title": 7});
        let fitting = json!({"name": "a", "inputSchema": {}, "annotations": {"readOnlyHint": true}});
        check(json!({"tools": [hints]}), json!({"tools": [fitting]}), &[]);
    }

    #[test]
    fn lists_and_cursors_in_other_forms_are_accepted() {
        for empty in
            [json!({"tools": null}), json!({}), json!(null), json!([]), json!({"tools": [], "extra": 1})]
        {
            check(empty, json!({"tools": []}), &[]);
        }
        check(json!({"tools": [], "nextCursor": 2}), json!({"tools": [], "nextCursor": "2"}), &[]);
        check(json!({"tools": [], "nextCursor": ""}), json!({"tools": [], "nextCursor": ""}), &[]);
        check(json!({"tools": [], "nextCursor": false}), json!({"tools": []}), &[]);
        check(
            json!({"tools": [], "nextCursor": {}}),
            json!({"tools": []}),
            &["further pages: nextCursor is no text"],
        );
        assert!(adapt(json!({"tools": {}}), |_| {}).is_err());
        assert!(adapt(json!("tools"), |_| {}).is_err());
        check(
            json!({"tools": [{"name": "a", "inputSchema": []}]}),
            json!({"tools": [{"name": "a", "inputSchema": {}}]}),
            &[],
        );
    }
}
