//! The cost of a normalised schema. A few kilobytes of references, each of which doubles the work, would otherwise keep
//! a thread busy for years.
//!
//! Two counts. [`size`] is the cost of compiling and of one level of arguments; it is limited when a tool is listed.
//! [`steps`] is the cost of checking given arguments; it is limited before each check. The second depends on the depth
//! of the arguments, because a schema may refer to itself from a property. Both follow every reference: after
//! [`super::normalise`] every reference is a pointer into the document. Both remember what they have counted, so that
//! the count itself is cheap.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

/// Keywords with schemas that apply to the same value as the schema itself.
const IN_PLACE: [&str; 7] = ["allOf", "anyOf", "oneOf", "not", "if", "then", "else"];
/// Keywords with one schema for each member of an object.
const EACH_MEMBER: [&str; 2] = ["additionalProperties", "unevaluatedProperties"];
/// Keywords with one schema for each item of an array.
const EACH_ITEM: [&str; 3] = ["items", "contains", "unevaluatedItems"];

/// Returns the target of a `$ref` of a normalised document.
pub(super) fn target<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let pointer = percent_decode_str(reference.strip_prefix('#')?).decode_utf8().ok()?;
    root.pointer(&pointer)
}

/// Counts the nodes of a schema with its references followed. A reference to a schema that contains it counts once.
pub(super) fn size(root: &Value) -> u64 {
    Size { root, path: Vec::new(), known: HashMap::new() }.of(root)
}

struct Size<'a> {
    root: &'a Value,
    path: Vec<&'a str>,
    known: HashMap<&'a str, u64>,
}

impl<'a> Size<'a> {
    fn of(&mut self, value: &'a Value) -> u64 {
        match value {
            Value::Array(list) => list.iter().fold(1, |sum: u64, item| sum.saturating_add(self.of(item))),
            Value::Object(fields) => {
                let own = fields.values().fold(1, |sum: u64, item| sum.saturating_add(self.of(item)));
                let reference = fields.get("$ref").and_then(Value::as_str);
                own.saturating_add(reference.map_or(0, |reference| self.referenced(reference)))
            }
            _ => 1,
        }
    }

    fn referenced(&mut self, reference: &'a str) -> u64 {
        if self.path.contains(&reference) {
            return 0;
        }
        if let Some(known) = self.known.get(reference) {
            return *known;
        }
        self.path.push(reference);
        let size = target(self.root, reference).map_or(0, |target| self.of(target));
        self.path.pop();
        self.known.insert(reference, size);
        size
    }
}

/// Counts the applications of a schema to a value when `instance` is checked against `root`; `u64::MAX` if the check
/// never ends.
pub(super) fn steps(root: &Value, instance: &Value) -> u64 {
    Steps { root, known: HashMap::new() }.of(root, instance)
}

struct Steps<'a> {
    root: &'a Value,
    /// Counts by the addresses of a schema and a value; `None` while the count is under way.
    known: HashMap<(*const Value, *const Value), Option<u64>>,
}

impl<'a> Steps<'a> {
    fn of(&mut self, schema: &'a Value, instance: &'a Value) -> u64 {
        let Value::Object(keywords) = schema else { return 1 };
        let key = (std::ptr::from_ref(schema), std::ptr::from_ref(instance));
        match self.known.get(&key) {
            Some(Some(steps)) => return *steps,
            // The schema applies itself to the same value.
            Some(None) => return u64::MAX,
            None => drop(self.known.insert(key, None)),
        }
        let mut sum: u64 = 1;
        for (schema, instance) in self.applied(keywords, instance) {
            sum = sum.saturating_add(self.of(schema, instance));
        }
        self.known.insert(key, Some(sum));
        sum
    }

    /// Returns the schemas that a schema applies, each with the value that it applies to.
    fn applied(&self, keywords: &'a Map<String, Value>, instance: &'a Value) -> Vec<(&'a Value, &'a Value)> {
        let mut applied: Vec<(&Value, &Value)> = Vec::new();
        let reference = keywords.get("$ref").and_then(Value::as_str);
        applied.extend(reference.and_then(|reference| target(self.root, reference)).map(|to| (to, instance)));
        let schemas = |keyword: &str| match keywords.get(keyword) {
            Some(Value::Array(list)) => list.as_slice(),
            other => other.map(std::slice::from_ref).unwrap_or_default(),
        };
        applied.extend(IN_PLACE.into_iter().flat_map(schemas).map(|schema| (schema, instance)));
        if let Some(Value::Object(dependents)) = keywords.get("dependentSchemas") {
            applied.extend(dependents.values().map(|schema| (schema, instance)));
        }
        match instance {
            Value::Object(members) => {
                for (name, member) in members {
                    let named = keywords.get("properties").and_then(|properties| properties.get(name));
                    applied.extend(named.map(|schema| (schema, member)));
                    if let Some(Value::Object(patterns)) = keywords.get("patternProperties") {
                        applied.extend(patterns.values().map(|schema| (schema, member)));
                    }
                    applied.extend(EACH_MEMBER.into_iter().flat_map(schemas).map(|schema| (schema, member)));
                    applied.extend(schemas("propertyNames").iter().map(|schema| (schema, &Value::Null)));
                }
            }
            Value::Array(items) => {
                applied.extend(schemas("prefixItems").iter().zip(items));
                for item in items {
                    applied.extend(EACH_ITEM.into_iter().flat_map(schemas).map(|schema| (schema, item)));
                }
            }
            _ => {}
        }
        applied
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns a schema whose definitions each apply the one below twice.
    fn doubling(levels: usize) -> Value {
        let mut schema = json!({"$defs": {"d0": {"type": "string"}}});
        for n in 1..=levels {
            let below = json!({"$ref": format!("#/$defs/d{}", n - 1)});
            schema["$defs"][format!("d{n}")] = json!({"allOf": [below, below]});
        }
        schema["properties"] = json!({"a": {"$ref": format!("#/$defs/d{levels}")}});
        schema
    }

    #[test]
    fn doubling_references_are_counted_quickly() {
        assert!(size(&doubling(60)) > 1 << 59);
        assert!(steps(&doubling(60), &json!({"a": "x"})) > 1 << 59);
        assert!(size(&doubling(5)) < 1_000);
        assert_eq!(steps(&doubling(60), &json!({})), 1);
    }

    #[test]
    fn the_cost_of_a_recursive_schema_follows_the_arguments() {
        let tree = json!({"$defs": {"node": {"properties": {"left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"}}}},
            "properties": {"root": {"$ref": "#/$defs/node"}}});
        let deep = (0..30).fold(json!({}), |below, _| json!({"left": below}));
        assert!(steps(&tree, &json!({"root": deep})) < 200);
        assert!(size(&tree) < 50);
        let twice = json!({"properties": {"next": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
        let deep = (0..40).fold(json!({}), |below, _| json!({"next": below}));
        assert!(steps(&twice, &deep) > 1 << 39);
    }

    #[test]
    fn a_circle_of_references_to_the_same_value_never_ends() {
        let circle = json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "properties": {"x": {"$ref": "#/$defs/a"}}});
        assert_eq!(steps(&circle, &json!({"x": 1})), u64::MAX);
        assert_eq!(steps(&circle, &json!({})), 1);
    }
}
