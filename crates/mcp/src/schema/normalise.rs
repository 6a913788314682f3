//! Normalisation: turns a schema of any draft into JSON Schema 2020-12.
//!
//! Servers write draft-03 to draft-07, 2019-09 and OpenAPI's dialect, `null` for an absent member, and PHP's empty
//! arrays for empty objects. The result has one form of each: keywords of 2020-12 ([`super::translate`]), references
//! that are JSON pointers into the same document, and property names that models accept. References out of the document
//! are dropped, so arguments are not checked against their targets.
//!
//! Does not validate: an invalid schema stays invalid. Called by [`super::ToolSchema`].
//!
//! Source: <https://json-schema.org/draft/2020-12/release-notes> and those of the drafts before.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{
    dialects::inline_root,
    names::PropertyNames,
    translate::{Place, Translator, UNRESOLVED},
};

/// The characters that are percent-encoded in the fragment of a URI: all that RFC 3986 §3.5 does not allow there.
const FRAGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/')
    .remove(b'?');

/// Returns the schema in 2020-12, and the property names that were changed in it.
pub(super) fn normalise(original: &Value) -> (Value, PropertyNames) {
    let mut translator = Translator::new(original);
    let mut root = translator.schema(original, Place::root());
    add_referenced_schemas(&mut translator, original, &mut root);
    rewrite_references(&translator, &mut root);
    inline_root(&mut root);
    let names = translator.into_names();
    names.rename_in_values(&mut root);
    (root, names)
}

/// Translates the targets of references that are under no keyword with schemas (`#/components/schemas/Pet`), and adds
/// them to `$defs`.
fn add_referenced_schemas(translator: &mut Translator<'_>, original: &Value, root: &mut Value) {
    let mut number = 0;
    while let Some(target) = translator.next_untranslated_target() {
        let Some(schema) = original.pointer(&target) else { continue };
        number += 1;
        let name = format!("referenced-{number}");
        let schema = translator.schema(schema, Place::in_defs(target, &name));
        if let Value::Object(fields) = root
            && let Value::Object(all) = fields.entry("$defs".to_owned()).or_insert_with(|| json!({}))
        {
            all.insert(name, schema);
        }
    }
}

/// Changes every `$ref` from the pointer in the original to the pointer in the result.
fn rewrite_references(translator: &Translator<'_>, value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref")
                && let Some(target) = reference.strip_prefix(UNRESOLVED)
            {
                let to = translator.pointer_in_result(target).unwrap_or_default();
                *reference = format!("#{}", utf8_percent_encode(to, FRAGMENT));
            }
            fields.values_mut().for_each(|value| rewrite_references(translator, value));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| rewrite_references(translator, value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(original: Value, expected: Value) {
        assert_eq!(normalise(&original).0, expected, "{original}");
    }

    #[test]
    fn older_drafts_are_translated() {
        check(json!({"items": [{"type": "number"}, {}], "additionalItems": false}), {
            json!({"prefixItems": [{"type": "number"}, {}], "items": false})
        });
        check(
            json!({"items": {"type": "string"}, "additionalItems": false}),
            json!({"items": {"type": "string"}}),
        );
        check(json!({"minimum": 0, "exclusiveMinimum": true, "maximum": 9, "exclusiveMaximum": false}), {
            json!({"exclusiveMinimum": 0, "maximum": 9})
        });
        check(json!({"minimum": 0, "exclusiveMaximum": 5}), json!({"minimum": 0, "exclusiveMaximum": 5}));
        check(json!({"dependencies": {"a": ["b"], "c": {"required": ["d"]}}}), {
            json!({"dependentRequired": {"a": ["b"]}, "dependentSchemas": {"c": {"required": ["d"]}}})
        });
        check(json!({"$schema": "http://json-schema.org/draft-04/schema#", "id": "x", "type": "object"}), {
            json!({"type": "object"})
        });
        check(json!({"properties": {"a": {"type": "any", "required": true}, "b": {"required": false}}}), {
            json!({"properties": {"a": {}, "b": {}}, "required": ["a"]})
        });
        check(json!({"divisibleBy": 2}), json!({"multipleOf": 2}));
    }

    #[test]
    fn what_frameworks_write_for_an_absent_member_counts_as_absent() {
        check(json!({"required": null, "properties": null, "type": "object"}), json!({"type": "object"}));
        check(json!({"properties": []}), json!({"properties": {}}));
        check(json!({"properties": {"a": [], "b": null, "c": "string"}}), {
            json!({"properties": {"a": {}, "b": {}, "c": {"type": "string"}}})
        });
        check(json!({"const": null, "default": null, "enum": null}), json!({"const": null, "default": null}));
        check(json!({"anyOf": [], "required": ["a", "a"]}), json!({"required": ["a"]}));
        check(json!({"required": "a"}), json!({"required": ["a"]}));
        check(json!({"type": "string", "nullable": true}), json!({"type": ["string", "null"]}));
    }

    #[test]
    fn references_become_pointers_and_remote_ones_are_dropped() {
        check(
            json!({"definitions": {"a b": {"$anchor": "n"}}, "properties": {"x": {"$ref": "#/definitions/a%20b"},
                "y": {"$ref": "#n"}, "z": {"$ref": "schema.json#n"}, "w": {"$dynamicRef": "#n"}}}),
            json!({"$defs": {"a b": {}}, "properties": {"x": {"$ref": "#/$defs/a%20b"}, "y": {"$ref": "#/$defs/a%20b"},
                "z": {"$ref": "#/$defs/a%20b"}, "w": {"$ref": "#/$defs/a%20b"}}}),
        );
        check(
            json!({"properties": {"x": {"$ref": "https://a.example/s.json", "title": "X"}, "y": {"$ref": "#/none"}}}),
            json!({"properties": {"x": {"title": "X"}, "y": {}}}),
        );
        check(
            json!({"properties": {"x": {"items": [{"type": "string"}]}, "y": {"$ref": "#/properties/x/items/0"}}}),
            json!({"properties": {"x": {"prefixItems": [{"type": "string"}]}, "y": {"$ref": "#/properties/x/prefixItems/0"}}}),
        );
        check(
            json!({"components": {"schemas": {"Pet": {"items": [{}]}}}, "properties": {"pet": {"$ref": "#/components/schemas/Pet"}}}),
            json!({"components": {"schemas": {"Pet": {"items": [{}]}}}, "properties": {"pet": {"$ref": "#/$defs/referenced-1"}},
                "$defs": {"referenced-1": {"prefixItems": [{}]}}}),
        );
    }

    #[test]
    fn the_roots_own_reference_is_replaced() {
        check(
            json!({"$ref": "#/definitions/Args", "definitions": {"Args": {"type": "object", "properties": {"a": {}}}}}),
            json!({"$defs": {"Args": {"type": "object", "properties": {"a": {}}}}, "type": "object", "properties": {"a": {}}}),
        );
        check(json!({"$ref": "#"}), json!({}));
        let circle =
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}});
        assert!(normalise(&circle).0.is_object());
    }

    #[test]
    fn names_that_models_refuse_are_changed_everywhere() {
        let original = json!({"properties": {"$filter": {"type": "string"}, "page": {"properties": {"page[size]": {}}, "required": ["page[size]"]}},
            "required": ["$filter"], "default": {"$filter": "x"}});
        let (schema, names) = normalise(&original);
        let filter = names.fitted("$filter").unwrap();
        let size = names.fitted("page[size]").unwrap();
        assert_eq!(schema["required"], json!([filter]));
        assert_eq!(schema["properties"][&filter], json!({"type": "string"}));
        assert_eq!(schema["properties"]["page"]["required"], json!([size]));
        assert_eq!(schema["default"], json!({filter.clone(): "x"}));
        let arguments = json!({filter.clone(): "a", "page": {size: 5}, "other": [1]});
        assert_eq!(
            names.original(arguments),
            json!({"$filter": "a", "page": {"page[size]": 5}, "other": [1]})
        );
    }
}
