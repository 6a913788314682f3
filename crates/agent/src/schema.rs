//! Tool schemas: made such that Bedrock takes them, and arguments checked against them.
//!
//! One schema that Bedrock refuses fails every call of a run, so what cannot be mended is left out.
//!
//! Source of the limits: Bedrock wants a JSON object with `type: object`; the models behind it refuse
//! combinators at the top and property names outside `[a-zA-Z0-9_.-]{1,64}`.

use std::collections::HashMap;

use boon::{Compiler, SchemaIndex, Schemas, ValidationError};
use serde_json::{Map, Value};

/// More than any hand-written schema; bounds what one tool costs of every turn's context.
const MAX_SCHEMA_BYTES: usize = 50_000;
/// Deeper than that, no person has written it.
const MAX_DEPTH: usize = 40;
/// How many nodes a schema may come to with its references followed: checking arguments takes time in
/// proportion, and holds up everything else in the process.
const MAX_COST: u64 = 20_000;
/// What a schema is called while it is compiled.
const LOCATION: &str = "schema.json";
/// How many faults of one call's arguments are told: the first ones are the ones to mend.
const MAX_FAULTS: usize = 5;

/// A tool's schema: what the model is shown, and what its arguments are checked against.
pub(crate) struct Schema {
    pub(crate) shown: Value,
    compiled: Schemas,
    index: SchemaIndex,
}

impl Schema {
    /// Takes a tool's `inputSchema`; the error says why Bedrock would refuse it.
    pub(crate) fn new(input_schema: &Map<String, Value>) -> Result<Self, &'static str> {
        let original = Value::Object(input_schema.clone());
        if original.to_string().len() > MAX_SCHEMA_BYTES {
            return Err("its schema is larger than 50,000 bytes");
        }
        if depth(&original) > MAX_DEPTH {
            return Err("its schema is nested more than 40 deep");
        }
        if cost(&original, &original, &mut Vec::new(), &mut HashMap::new()) > MAX_COST {
            return Err("its schema's references multiply beyond measure");
        }
        let shown = mended(input_schema)?;
        let no_schema = |_| "its schema is no JSON Schema";
        let (mut compiler, mut compiled) = (Compiler::new(), Schemas::new());
        // Nothing else is loaded: a reference to elsewhere makes it none.
        compiler.use_loader(Box::new(boon::SchemeUrlLoader::new()));
        compiler.add_resource(LOCATION, original).map_err(no_schema)?;
        let index = compiler.compile(LOCATION, &mut compiled).map_err(no_schema)?;
        Ok(Self { shown, compiled, index })
    }

    /// What is wrong with `arguments`, for the model to mend; `None` if nothing is.
    pub(crate) fn faults(&self, arguments: &Value) -> Option<String> {
        let error = self.compiled.validate(arguments, self.index).err()?;
        let mut faults = Vec::new();
        gather(&error, &mut faults);
        Some(faults.join("; "))
    }
}

/// The faults at the ends of the tree: what stands above only says that something below failed.
fn gather(error: &ValidationError<'_, '_>, faults: &mut Vec<String>) {
    if faults.len() >= MAX_FAULTS {
        return;
    }
    if error.causes.is_empty() {
        let place = error.instance_location.to_string();
        let place = if place.is_empty() { "the arguments" } else { &place };
        faults.push(format!("{place}: {}", error.kind));
    }
    for cause in &error.causes {
        gather(cause, faults);
    }
}

fn mended(schema: &Map<String, Value>) -> Result<Value, &'static str> {
    let mut schema = schema.clone();
    match schema.get("type") {
        Some(Value::String(kind)) if kind == "object" => {}
        // Absent, or `["object", "null"]`.
        None => {}
        Some(Value::Array(kinds)) if kinds.iter().any(|kind| kind == "object") => {}
        Some(_) => return Err("its schema is not of an object"),
    }
    for refused in ["$schema", "$id", "oneOf", "anyOf", "allOf", "not", "if", "then", "else"] {
        schema.remove(refused);
    }
    match schema.get("properties") {
        None | Some(Value::Null) => {
            schema.insert("properties".to_owned(), Map::new().into());
        }
        Some(Value::Object(properties)) if properties.keys().all(|name| is_taken(name)) => {}
        Some(Value::Object(_)) => return Err("a property's name has characters that models refuse"),
        Some(_) => return Err("its properties are no object"),
    }
    schema.insert("type".to_owned(), "object".into());
    Ok(Value::Object(schema))
}

fn is_taken(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(fits)
}

/// The nodes of a schema with its references followed, a reference to what it stands in counting once.
fn cost<'a>(
    value: &'a Value,
    root: &'a Value,
    path: &mut Vec<&'a str>,
    known: &mut HashMap<&'a str, u64>,
) -> u64 {
    let mut sum: u64 = 1;
    match value {
        Value::Array(list) => {
            for item in list {
                sum = sum.saturating_add(cost(item, root, path, known));
            }
        }
        Value::Object(fields) => {
            for item in fields.values() {
                sum = sum.saturating_add(cost(item, root, path, known));
            }
            let reference = fields.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix('#'));
            if let Some(reference) = reference.filter(|reference| !path.contains(reference)) {
                let followed = match known.get(reference) {
                    Some(cost) => *cost,
                    None => {
                        path.push(reference);
                        let target = root.pointer(reference);
                        let followed = target.map_or(0, |target| cost(target, root, path, known));
                        path.pop();
                        known.insert(reference, followed);
                        followed
                    }
                };
                sum = sum.saturating_add(followed);
            }
        }
        _ => {}
    }
    sum
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
    use serde_json::json;

    use super::*;

    fn schema(schema: Value) -> Result<Schema, &'static str> {
        Schema::new(schema.as_object().unwrap())
    }

    fn check_shown(given: Value, shown: Value) {
        assert_eq!(schema(given).unwrap().shown, shown);
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
        check_shown(odd, plain);
    }

    #[test]
    fn what_cannot_be_mended_is_left_out() {
        let check = |given: Value, reason: &str| assert!(schema(given).err().unwrap().contains(reason));
        check(json!({"type": "string"}), "not of an object");
        check(json!({"properties": []}), "no object");
        check(json!({"properties": {"straße": {}}}), "name has characters");
        check(json!({"properties": {"a": {"type": "nonsense"}}}), "no JSON Schema");
        check(json!({"description": "x".repeat(50_000)}), "larger than");
        let mut bomb =
            json!({"$defs": {"d0": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/d25"}}});
        for n in 1..26 {
            let below = json!({"$ref": format!("#/$defs/d{}", n - 1)});
            bomb["$defs"][format!("d{n}")] = json!({"allOf": [below, below]});
        }
        check(bomb, "multiply");
        let deep = (0..50).fold(json!({}), |inner, _| json!({"properties": {"a": inner}}));
        check(deep, "nested");
    }

    #[test]
    fn arguments_that_do_not_fit_are_told_by_place() {
        let schema =
            schema(json!({"properties": {"a": {"type": "number"}}, "required": ["a", "b"]})).unwrap();
        assert_eq!(schema.faults(&json!({"a": 1, "b": 2})), None);
        let faults = schema.faults(&json!({"a": "x"})).unwrap();
        assert!(faults.contains("/a: want number") && faults.contains("missing properties 'b'"), "{faults}");
    }

    #[test]
    fn a_schema_of_a_tree_is_taken() {
        let tree = json!({"$defs": {"node": {"type": "object", "properties": {
            "left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"},
        }}}, "properties": {"root": {"$ref": "#/$defs/node"}}});
        assert!(schema(tree).is_ok());
    }

    #[test]
    fn combinators_still_hold_for_arguments() {
        let schema = schema(json!({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]})).unwrap();
        assert!(schema.faults(&json!({})).is_some());
        assert_eq!(schema.faults(&json!({"a": 1})), None);
    }
}
