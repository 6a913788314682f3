//! Translation of single keywords that older drafts and OpenAPI define differently from 2020-12.
//!
//! Called by [`super::translate`] and [`super::normalise`]; tested in the latter.

use serde_json::{Map, Value, json};

use super::steps;

/// Maximum number of times that the root's own `$ref` is replaced by its target.
const MAX_ROOT_REFERENCES: usize = 10;

/// Translates a bound. In draft-04 `exclusiveMinimum` and `exclusiveMaximum` are booleans beside `minimum` and
/// `maximum`; since draft-06 they are bounds themselves.
pub(super) fn bound(keyword: &str, value: &Value, fields: &Map<String, Value>, out: &mut Map<String, Value>) {
    let exclusive = if keyword.ends_with("inimum") { "exclusiveMinimum" } else { "exclusiveMaximum" };
    let is_exclusive = fields.get(exclusive) == Some(&Value::Bool(true));
    match value {
        Value::Bool(_) => {}
        value if is_exclusive => drop(out.insert(exclusive.to_owned(), value.clone())),
        value => drop(out.insert(keyword.to_owned(), value.clone())),
    }
}

/// Translates `type` and `nullable`. In draft-03 the type `any` means every type; in OpenAPI `nullable` adds `null`.
pub(super) fn kind(keyword: &str, value: &Value, fields: &Map<String, Value>, out: &mut Map<String, Value>) {
    if keyword == "nullable" {
        return;
    }
    let is_nullable = fields.get("nullable") == Some(&Value::Bool(true));
    match value {
        Value::String(kind) if kind == "any" => {}
        Value::Array(kinds) if kinds.is_empty() || kinds.iter().any(|kind| kind == "any") => {}
        Value::String(kind) if is_nullable && kind != "null" => {
            out.insert("type".to_owned(), json!([kind, "null"]));
        }
        value => drop(out.insert("type".to_owned(), value.clone())),
    }
}

/// Replaces the root's own `$ref` by its target, because models expect the properties at the root.
pub(super) fn inline_root(root: &mut Value) {
    for _ in 0..MAX_ROOT_REFERENCES {
        let Value::Object(fields) = &*root else { return };
        let Some(target) = fields.get("$ref").and_then(Value::as_str) else { return };
        let target = steps::target(root, target).filter(|target| !std::ptr::eq(*target, root));
        let target = target.and_then(Value::as_object).cloned().unwrap_or_default();
        let Value::Object(fields) = root else { return };
        fields.remove("$ref");
        for (keyword, value) in target {
            match (fields.get_mut(&keyword), value) {
                (Some(Value::Object(own)), Value::Object(value)) => {
                    for (name, value) in value {
                        own.entry(name).or_insert(value);
                    }
                }
                (Some(_), _) => {}
                (None, value) => drop(fields.insert(keyword, value)),
            }
        }
    }
    // A longer chain is a circle.
    if let Value::Object(fields) = root {
        fields.remove("$ref");
    }
}
