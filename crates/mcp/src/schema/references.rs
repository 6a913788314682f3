//! Resolves the references of a schema as JSON Schema defines it: against the base URI that `$id` sets, to a JSON
//! pointer, an anchor or an embedded schema.
//!
//! Fetches nothing: a reference out of the document has no target. Called by [`super::translate`].
//!
//! Source: JSON Schema Core 2020-12 §8.2; draft-04 has `id` for `$id`.

use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use serde_json::Value;
use url::Url;

/// The base URI of a document without `$id`.
const BASE: &str = "https://schema.invalid/schema.json";

/// The places in one document that references can name.
pub(super) struct ReferenceTargets<'a> {
    document: &'a Value,
    id_keyword: &'static str,
    /// Pointers to embedded schemas, by their URI without a fragment.
    resources: HashMap<String, String>,
    /// Pointers to anchored schemas, by URI and anchor.
    anchors: HashMap<(String, String), String>,
}

impl<'a> ReferenceTargets<'a> {
    /// Finds all embedded schemas and anchors in `document`.
    pub(super) fn of(document: &'a Value) -> Self {
        let draft = document["$schema"].as_str().unwrap_or_default();
        let id_keyword = if draft.contains("draft-04") || draft.contains("draft-03") { "id" } else { "$id" };
        let mut targets = Self { document, id_keyword, resources: HashMap::new(), anchors: HashMap::new() };
        let base = base();
        targets.resources.insert(without_fragment(&base), String::new());
        targets.visit(document, String::new(), &base);
        targets
    }

    /// Returns the base URI inside `schema`, which is part of a schema with the base URI `outer`.
    pub(super) fn base_of(&self, schema: &Value, outer: &Url) -> Url {
        let id = schema.get(self.id_keyword).and_then(Value::as_str);
        id.and_then(|id| outer.join(id).ok()).unwrap_or_else(|| outer.clone())
    }

    /// Returns the JSON pointer of the schema that `reference` names, with `base` as the base URI; `None` if the
    /// document contains no such schema.
    pub(super) fn resolve(&self, reference: &str, base: &Url) -> Option<String> {
        let target = base.join(reference).ok()?;
        let fragment =
            percent_decode_str(target.fragment().unwrap_or_default()).decode_utf8().ok()?.into_owned();
        let uri = without_fragment(&target);
        let resource = self.resources.get(&uri);
        if fragment.is_empty() {
            return resource.cloned();
        }
        if let Some(anchor) = self.anchors.get(&(uri, fragment.clone())) {
            return Some(anchor.clone());
        }
        let pointer = format!("{}{fragment}", resource?);
        let names_schema = matches!(self.document.pointer(&pointer)?, Value::Object(_) | Value::Bool(_));
        (fragment.starts_with('/') && names_schema).then_some(pointer)
    }

    fn visit(&mut self, value: &Value, pointer: String, outer: &Url) {
        let base = self.base_of(value, outer);
        match value {
            Value::Object(fields) => {
                if base != *outer {
                    self.resources.entry(without_fragment(&base)).or_insert_with(|| pointer.clone());
                    // Draft-07 and older write anchors as `$id: "#name"`.
                    if let Some(anchor) = base.fragment().filter(|anchor| !anchor.is_empty()) {
                        self.anchors.insert((without_fragment(&base), anchor.to_owned()), pointer.clone());
                    }
                }
                for keyword in ["$anchor", "$dynamicAnchor"] {
                    if let Some(anchor) = fields.get(keyword).and_then(Value::as_str) {
                        self.anchors.insert((without_fragment(&base), anchor.to_owned()), pointer.clone());
                    }
                }
                for (name, value) in fields {
                    self.visit(value, format!("{pointer}/{}", escaped(name)), &base);
                }
            }
            Value::Array(list) => {
                for (index, value) in list.iter().enumerate() {
                    self.visit(value, format!("{pointer}/{index}"), &base);
                }
            }
            _ => {}
        }
    }
}

/// Returns the base URI at the root of a document.
pub(super) fn base() -> Url {
    #[expect(clippy::unwrap_used, reason = "a constant that a test parses")]
    Url::parse(BASE).unwrap()
}

/// Escapes a member's name for a JSON pointer (RFC 6901 §3).
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

fn without_fragment(uri: &Url) -> String {
    let mut uri = uri.clone();
    uri.set_fragment(None);
    uri.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_reference_is_resolved_in_every_form() {
        let document = json!({
            "$defs": {
                "a b": {"$anchor": "named", "type": "string"},
                "other": {"$id": "other.json", "$defs": {"deep": {"$anchor": "deep"}}},
            },
            "definitions": {"old": {"$id": "#oldName"}},
            "components": {"schemas": {"Pet": {}}},
        });
        let targets = ReferenceTargets::of(&document);
        let check = |reference: &str, expected: Option<&str>| {
            assert_eq!(targets.resolve(reference, &base()).as_deref(), expected, "{reference}");
        };
        check("#", Some(""));
        check("schema.json", Some(""));
        check("#/$defs/a b", Some("/$defs/a b"));
        check("#/%24defs/a%20b", Some("/$defs/a b"));
        check("schema.json#/$defs/a%20b", Some("/$defs/a b"));
        check("#named", Some("/$defs/a b"));
        check("#oldName", Some("/definitions/old"));
        check("other.json", Some("/$defs/other"));
        check("other.json#/$defs/deep", Some("/$defs/other/$defs/deep"));
        check("other.json#deep", Some("/$defs/other/$defs/deep"));
        check("#/components/schemas/Pet", Some("/components/schemas/Pet"));
        check("#/$defs/none", None);
        check("#none", None);
        check("https://elsewhere.example/schema.json", None);
        check("http://[", None);
    }
}
