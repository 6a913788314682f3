//! One page of `tools/list`, made to fit rmcp's types.
//!
//! A tool without a name or a schema is taken out and noted; an optional member that does not fit is left
//! out, and the tool stays. One whose name, or the name of one of its arguments, held the credential is taken out too:
//! by another name it could not be called. Whether a schema can be offered is not looked at here ([`crate::schema`]).

use auth::REDACTED;
use rmcp::model::Tool;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// AgentCore's gateway gives names of up to 256 characters; longer ones fill answers, not needs.
const MAX_NAME: usize = 256;
/// The members of a tool that it can do without.
const OPTIONAL: [&str; 7] =
    ["title", "description", "outputSchema", "annotations", "icons", "_meta", "execution"];

/// The page as rmcp takes it; `note` is told of every tool that is taken out. The error begins with “its”.
pub(super) fn mend(result: Value, mut note: impl FnMut(String)) -> Result<Value, &'static str> {
    let mut fields = match result {
        Value::Object(fields) => fields,
        Value::Null => Map::new(),
        list @ Value::Array(_) => Map::from_iter([("tools".to_owned(), list)]),
        _ => return Err("its result is no list of tools"),
    };
    let given = match fields.remove("tools") {
        Some(Value::Array(tools)) => tools,
        // Servers that leave empty lists out, or write them as null.
        Some(Value::Null) | None => Vec::new(),
        Some(_) => return Err("its tools are no array"),
    };
    let mut tools = Vec::with_capacity(given.len());
    for (index, tool) in given.into_iter().enumerate() {
        match mend_tool(tool) {
            Ok(tool) => tools.push(tool),
            Err(defect) => note(format!("tool {} of a page {defect}", index + 1)),
        }
    }
    let mut page = json!({"tools": tools});
    match fields.remove("nextCursor") {
        Some(Value::String(cursor)) => page["nextCursor"] = cursor.into(),
        // A cursor is opaque, so what was given as a number is given back as its digits.
        Some(Value::Number(cursor)) => page["nextCursor"] = cursor.to_string().into(),
        Some(Value::Null | Value::Bool(false)) | None => {}
        Some(_) => note("further pages: nextCursor is no text".to_owned()),
    }
    Ok(page)
}

/// The tool as rmcp takes it; the error says what is wrong, as it follows on the tool's position.
fn mend_tool(tool: Value) -> Result<Value, &'static str> {
    let Value::Object(mut tool) = tool else { return Err("has no name") };
    tool.retain(|_, member| !member.is_null());
    let name = tool.get("name").and_then(Value::as_str).unwrap_or_default();
    if name.is_empty() {
        return Err("has no name");
    }
    if name.chars().count() > MAX_NAME {
        return Err("has a name longer than 256 characters");
    }
    if name.contains(REDACTED) || tool.get("inputSchema").is_some_and(names_a_secret) {
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
    if Tool::deserialize(&tool).is_ok() { Ok(tool) } else { without_odd_members(tool) }
}

/// Whether a member's name is no longer the server's own: it would not know the argument.
fn names_a_secret(schema: &Value) -> bool {
    match schema {
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.contains(REDACTED) || names_a_secret(value))
        }
        Value::Array(values) => values.iter().any(names_a_secret),
        _ => false,
    }
}

/// The tool without those optional members that do not fit.
fn without_odd_members(tool: Value) -> Result<Value, &'static str> {
    let Value::Object(fields) = tool else { return Err("has no name") };
    let needed = |name: &str| !OPTIONAL.contains(&name);
    let mut mended: Map<String, Value> =
        fields.iter().filter(|(name, _)| needed(name)).map(|(n, v)| (n.clone(), v.clone())).collect();
    for (name, value) in fields {
        if needed(&name) {
            continue;
        }
        mended.insert(name.clone(), value);
        if Tool::deserialize(&Value::Object(mended.clone())).is_err() {
            mended.remove(&name);
        }
    }
    let mended = Value::Object(mended);
    if Tool::deserialize(&mended).is_ok() { Ok(mended) } else { Err("has a field of the wrong type") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(result: Value, expected: Value, expected_notes: &[&str]) {
        let mut notes = Vec::new();
        assert_eq!(mend(result.clone(), |note| notes.push(note)).unwrap(), expected, "{result}");
        assert_eq!(notes, expected_notes, "{result}");
    }

    #[test]
    fn a_malformed_tool_goes_and_its_neighbours_stay() {
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
    fn a_tool_that_would_be_called_by_another_name_than_its_own_goes() {
        let defect = "tool 1 of a page has a name that holds the credential";
        let schema = json!({"type": "object", "properties": {"a-[credential]": {}}});
        for tool in [
            json!({"name": "get_[credential]", "inputSchema": {}}),
            json!({"name": "get", "inputSchema": schema}),
        ] {
            check(json!({"tools": [tool]}), json!({"tools": []}), &[defect]);
        }
        let told = json!({"name": "get", "description": "as [credential]", "inputSchema": {}});
        check(json!({"tools": [told]}), json!({"tools": [told]}), &[]);
    }

    #[test]
    fn an_odd_optional_member_goes_and_the_tool_stays() {
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
        let kept = json!({"name": "a", "inputSchema": {}, "annotations": {"readOnlyHint": true}});
        check(json!({"tools": [hints]}), json!({"tools": [kept]}), &[]);
    }

    #[test]
    fn lists_and_cursors_in_other_forms_are_taken() {
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
        assert!(mend(json!({"tools": {}}), |_| {}).is_err());
        assert!(mend(json!("tools"), |_| {}).is_err());
        check(
            json!({"tools": [{"name": "a", "inputSchema": []}]}),
            json!({"tools": [{"name": "a", "inputSchema": {}}]}),
            &[],
        );
    }
}
