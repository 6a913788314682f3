//! A tool's `inputSchema`: made such that models take it, and arguments checked against it.
//!
//! One tool whose schema Bedrock refuses fails every call of a run, so each is judged once, here, when a
//! server's list is read: normalised ([`normalise`]), counted ([`steps`]), and what a model will be shown is held
//! against the metaschema of 2020-12. What then cannot be offered is left out of the list with its reason.
//!
//! Sources of the rules: Bedrock wants an object with `type: object` that meets 2020-12; the models behind it
//! refuse combinators at the top and property names outside `[a-zA-Z0-9_.-]{1,64}`.

mod check;
mod dialects;
mod names;
mod normalise;
mod references;
mod steps;

use serde_json::{Map, Value, json};

pub use self::check::{ArgumentChecker, PatternBudget};
use self::names::PropertyNames;

/// More than any hand-written schema; bounds what one tool costs of every turn's context.
const MAX_SCHEMA_BYTES: usize = 50_000;
/// Deeper than that, no person has written it.
const MAX_DEPTH: usize = 40;
/// How many nodes a schema may come to with its references followed.
const MAX_SIZE: u64 = 20_000;
/// Keywords that models refuse at the top of a schema; arguments are held to them all the same.
const REFUSED_AT_TOP: [&str; 9] = ["oneOf", "anyOf", "allOf", "not", "if", "then", "else", "enum", "const"];

/// A tool's schema: what a model is shown, and what its arguments are checked against.
#[derive(Debug, Clone)]
pub struct ToolSchema {
    shown: Value,
    normalised: Value,
    names: PropertyNames,
}

impl ToolSchema {
    /// Takes a tool's `inputSchema`.
    ///
    /// # Errors
    /// Why no model can be offered it, as it follows on the tool's name.
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
            return Err("has a schema whose references multiply beyond measure".to_owned());
        }
        let mut shown = shown(&normalised)?;
        check::drop_patterns(&mut shown, &check::is_pattern);
        if let Some(place) = check::place_of_fault(&shown) {
            return Err(format!("has a schema that is no JSON Schema, at {place}"));
        }
        Ok(Self { shown, normalised, names })
    }

    /// The schema as a model is shown it.
    pub fn shown(&self) -> &Value {
        &self.shown
    }

    /// A model's arguments under the names that the server gave to its properties.
    pub fn arguments_for_server(&self, arguments: Value) -> Value {
        self.names.original(arguments)
    }

    /// What checks arguments. Compiles the schema, which takes time: call it where a thread may block.
    pub fn checker(&self, budget: &PatternBudget) -> ArgumentChecker {
        ArgumentChecker::new(&self.normalised, budget)
    }
}

/// What a model is shown of a normalised schema.
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
    // What the combinators say of properties, the model would not see otherwise.
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
    fn what_bedrock_would_refuse_is_mended() {
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
        // A pattern for another engine is shown; one that is none is not.
        let patterns =
            json!({"type": "object", "properties": {"a": {"pattern": "^(?!x)\\1"}, "b": {"pattern": "[a-"}}});
        check_shown(
            patterns,
            json!({"type": "object", "properties": {"a": {"pattern": "^(?!x)\\1"}, "b": {}}}),
        );
    }

    #[test]
    fn what_cannot_be_mended_is_left_out_with_its_reason() {
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

    /// Definitions each of which applies the one below it twice, by a reference of the given form.
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
    fn a_schema_of_a_tree_is_taken() {
        let tree = json!({"$defs": {"node": {"type": "object", "properties": {
            "left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"},
        }}}, "properties": {"root": {"$ref": "#/$defs/node"}}});
        assert!(schema(tree).is_ok());
    }
}
