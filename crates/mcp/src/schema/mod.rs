//! A tool's `inputSchema`: adapted to what models accept, and the check of arguments against it.
//!
//! One tool whose schema Bedrock refuses makes every turn of a run fail. So each schema is checked once, when a
//! server's list is read: it is normalised ([`normalise`]), its size with references followed is counted ([`steps`]),
//! and the form that a model is shown is validated against the metaschema of 2020-12. A tool that cannot be offered is
//! left out of the list with the reason.
//!
//! Sources of the rules: Bedrock requires an object with `type: object` that conforms to 2020-12; the models behind it
//! refuse combinators at the top level and property names outside `[a-zA-Z0-9_.-]{1,64}`. Called by
//! [`crate::client`] for lists and by `agent` for calls.

mod check;
mod dialects;
mod names;
mod normalise;
mod references;
mod steps;
mod translate;

use serde_json::{Map, Value, json};

pub use self::check::{ArgumentChecker, PatternBudget};
use self::names::PropertyNames;

/// Maximum size of a schema, in bytes: more than any hand-written schema. Limits what one tool costs of the context of
/// every turn.
const MAX_SCHEMA_BYTES: usize = 50_000;
/// Maximum depth of a schema: deeper than any hand-written schema.
const MAX_DEPTH: usize = 40;
/// Maximum number of nodes of a schema with its references followed.
const MAX_SIZE: u64 = 20_000;
/// Keywords that models refuse at the top level of a schema. The model is not shown them, but arguments are still
/// checked against them.
const REFUSED_AT_TOP: [&str; 9] = ["oneOf", "anyOf", "allOf", "not", "if", "then", "else", "enum", "const"];

/// A tool's schema: the form that a model is shown, and the form that its arguments are checked against.
#[derive(Debug, Clone)]
pub struct ToolSchema {
    shown: Value,
    normalised: Value,
    names: PropertyNames,
}

impl ToolSchema {
    /// Checks and normalises a tool's `inputSchema`.
    ///
    /// # Errors
    /// The reason why the tool cannot be offered to a model, worded to follow “the tool x, which”.
    pub fn new(input_schema: &Map<String, Value>) -> Result<Self, String> {
        let original = Value::Object(input_schema.clone());
        if original.to_string().len() > MAX_SCHEMA_BYTES {
            return Err("has a schema larger than 50,000 bytes".to_owned());
        }
        if depth(&original) > MAX_DEPTH {
            return Err("has a schema nested more than 40 deep".to_owned());
        }
        let (normalised, names) = normalise::normalise(&original);
        if steps::size(&normalised) > MAX_SIZE {
            return Err("has a schema whose references multiply it to more than 20,000 nodes".to_owned());
        }
        let mut shown = shown(&normalised)?;
        check::drop_patterns(&mut shown, &check::is_pattern);
        if let Some(place) = check::place_of_fault(&shown) {
            return Err(format!("has a schema that is no JSON Schema, at {place}"));
        }
        Ok(Self { shown, normalised, names })
    }

    /// Returns the schema that a model is shown.
    pub fn shown(&self) -> &Value {
        &self.shown
    }

    /// Renames the properties in a model's arguments to the names that the server uses.
    pub fn arguments_for_server(&self, arguments: Value) -> Value {
        self.names.original(arguments)
    }

    /// Returns a checker for arguments. Compiles the schema, which takes time: call it on a blocking thread.
    pub fn checker(&self, budget: &PatternBudget) -> ArgumentChecker {
        ArgumentChecker::new(&self.normalised, budget)
    }
}

/// Returns the form of a normalised schema that a model is shown.
///
/// # Errors
/// As [`ToolSchema::new`].
fn shown(normalised: &Value) -> Result<Value, String> {
    let Value::Object(schema) = normalised else { return Err("has a schema that is no object".to_owned()) };
    match schema.get("type") {
        // Absent, or `["object", "null"]`.
        None => {}
        Some(Value::String(kind)) if kind == "object" => {}
        Some(Value::Array(kinds)) if kinds.iter().any(|kind| kind == "object") => {}
        Some(_) => return Err("has a schema that is not of an object".to_owned()),
    }
    let mut shown = schema.clone();
    shown.retain(|keyword, _| !REFUSED_AT_TOP.contains(&keyword.as_str()));
    shown.insert("type".to_owned(), "object".into());
    let properties = shown.entry("properties".to_owned()).or_insert_with(|| json!({}));
    let Value::Object(properties) = properties else {
        return Err("has a schema whose properties are no object".to_owned());
    };
    // The combinators are removed, so the properties in their branches are added here for the model to see.
    for branch in ["allOf", "anyOf", "oneOf"]
        .into_iter()
        .filter_map(|keyword| schema.get(keyword)?.as_array())
        .flatten()
    {
        for (name, property) in branch_properties(normalised, branch) {
            properties.entry(name).or_insert(property);
        }
    }
    Ok(Value::Object(shown))
}

fn branch_properties(root: &Value, branch: &Value) -> Map<String, Value> {
    let reference = branch.get("$ref").and_then(Value::as_str);
    let branch = reference.and_then(|reference| steps::target(root, reference)).unwrap_or(branch);
    branch.get("properties").and_then(Value::as_object).cloned().unwrap_or_default()
}

fn depth(value: &Value) -> usize {
    let below = match value {
        Value::Array(list) => list.iter().map(depth).max(),
        Value::Object(fields) => fields.values().map(depth).max(),
        _ => return 0,
    };
    1 + below.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema(schema: Value) -> Result<ToolSchema, String> {
        ToolSchema::new(schema.as_object().unwrap())
    }

    fn check_shown(given: Value, shown: Value) {
        assert_eq!(*schema(given).unwrap().shown(), shown);
    }

    #[test]
    fn what_bedrock_would_refuse_is_repaired() {
        check_shown(json!({}), json!({"type": "object", "properties": {}}));
        let plain = json!({"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]});
        check_shown(plain.clone(), plain.clone());
        let mut odd = plain.clone();
        odd["$schema"] = "http://json-schema.org/draft-07/schema#".into();
        odd["anyOf"] = json!([{"required": ["a"]}]);
        odd["type"] = json!(["object", "null"]);
        odd["required"] = json!(["a", "a"]);
        check_shown(odd, plain);
        check_shown(
            json!({"oneOf": [{"properties": {"a": {"type": "string"}}}, {"$ref": "#/$defs/b"}], "$defs": {"b": {"properties": {"b": {}}}}}),
            json!({"$defs": {"b": {"properties": {"b": {}}}}, "type": "object", "properties": {"a": {"type": "string"}, "b": {}}}),
        );
        // A pattern for another regex engine is shown; an invalid pattern is not.
        let patterns =
            json!({"type": "object", "properties": {"a": {"pattern": "^(?!x)\\1"}, "b": {"pattern": "[a-"}}});
        check_shown(
            patterns,
            json!({"type": "object", "properties": {"a": {"pattern": "^(?!x)\\1"}, "b": {}}}),
        );
    }

    #[test]
    fn what_cannot_be_repaired_is_refused_with_a_reason() {
        let check = |given: Value, reason: &str| {
            let found = schema(given.clone()).map(|schema| schema.shown().clone()).unwrap_err();
            assert!(found.contains(reason), "{given}: {found}");
        };
        check(json!({"type": "string"}), "not of an object");
        check(json!({"properties": [1]}), "no object");
        check(json!({"properties": {"a": {"type": "nonsense"}}}), "no JSON Schema, at /properties/a/type");
        check(json!({"properties": {"a": {"minimum": "x"}}}), "at /properties/a/minimum");
        check(json!({"description": "x".repeat(50_000)}), "larger than");
        let deep = (0..50).fold(json!({}), |inner, _| json!({"properties": {"a": inner}}));
        check(deep, "nested");
    }

    /// Returns a schema whose definitions each apply the one below twice, by references of the given form.
    fn bomb(reference: impl Fn(usize) -> String, define: impl Fn(usize, Value) -> Value) -> Value {
        let mut bomb = json!({"$defs": {"d0": define(0, json!({"type": "string"}))}, "properties": {"a": {"$ref": reference(25)}}});
        for n in 1..26 {
            let below = json!({"$ref": reference(n - 1)});
            bomb["$defs"][format!("d{n}")] = define(n, json!({"allOf": [below, below]}));
        }
        bomb
    }

    #[test]
    fn references_that_multiply_are_found_in_every_form() {
        let plain = |_: usize, schema: Value| schema;
        let anchored = |n: usize, mut schema: Value| {
            schema["$anchor"] = format!("a{n}").into();
            schema
        };
        let named = |n: usize, mut schema: Value| {
            schema["$id"] = format!("s{n}.json").into();
            schema
        };
        for bomb in [
            bomb(|n| format!("#/$defs/d{n}"), plain),
            bomb(|n| format!("#/%24defs/d{n}"), plain),
            bomb(|n| format!("schema.json#/$defs/d{n}"), plain),
            bomb(|n| format!("#a{n}"), anchored),
            bomb(|n| format!("s{n}.json"), named),
        ] {
            assert!(schema(bomb).unwrap_err().contains("multiply"));
        }
        let dynamic = bomb(|n| format!("#a{n}"), anchored)
            .to_string()
            .replace("$ref", "$dynamicRef")
            .replace("$anchor", "$dynamicAnchor");
        assert!(schema(serde_json::from_str(&dynamic).unwrap()).unwrap_err().contains("multiply"));
    }

    #[test]
    fn a_recursive_schema_of_a_tree_is_accepted() {
        let tree = json!({"$defs": {"node": {"type": "object", "properties": {
            "left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"},
        }}}, "properties": {"root": {"$ref": "#/$defs/node"}}});
        assert!(schema(tree).is_ok());
    }
}
