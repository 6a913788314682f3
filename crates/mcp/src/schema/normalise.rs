//! Schemas of every draft as JSON Schema 2020-12.
//!
//! Servers write draft-04, -06, -07 and 2019-09, OpenAPI's dialect, `null` for what is not given, and PHP's
//! empty arrays for empty objects. The result has one form of each: keywords of 2020-12, references that are
//! JSON pointers into the same document, property names that models take. References that lead elsewhere are
//! dropped, so what they would have said is not checked.
//!
//! Judges nothing: what is no schema stays none.
//!
//! Source: <https://json-schema.org/draft/2020-12/release-notes> and those of the drafts before.

use std::collections::{BTreeSet, HashMap};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use url::Url;

use super::{
    dialects::{bound, inline_root, kind},
    names::PropertyNames,
    references::{Places, base, escaped},
};

/// What stands for itself in a URI's fragment (RFC 3986 §3.5).
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
/// Begins a `$ref` that still names its target by the pointer in the original document.
const UNRESOLVED: &str = "\u{0}";
/// Keywords that say where a schema is, or what it is written in: there is one place and one dialect left.
const IDENTITY: [&str; 7] =
    ["$schema", "$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary", "$comment"];
/// Keywords whose value is one schema.
const SCHEMA: [&str; 11] = [
    "not",
    "if",
    "then",
    "else",
    "contains",
    "propertyNames",
    "additionalProperties",
    "unevaluatedItems",
    "unevaluatedProperties",
    "contentSchema",
    "extends",
];
/// Keywords whose value may be `null` and mean it.
const VALUES: [&str; 2] = ["const", "default"];

/// A schema in 2020-12, and the names of properties that were changed in it.
pub(super) fn normalise(original: &Value) -> (Value, PropertyNames) {
    let mut translator = Translator {
        places: Places::of(original),
        moved: HashMap::new(),
        wanted: Vec::new(),
        names: PropertyNames::default(),
    };
    let mut root = translator.schema(original, Place::root());
    translator.fetch_targets(original, &mut root);
    translator.rewrite_references(&mut root);
    inline_root(&mut root);
    translator.names.rename_in_values(&mut root);
    (root, translator.names)
}

struct Translator<'a> {
    places: Places<'a>,
    /// Pointers in the result, by those in the original.
    moved: HashMap<String, String>,
    /// Pointers in the original that references name.
    wanted: Vec<String>,
    names: PropertyNames,
}

/// Where a schema stands: in the original, in the result, and inside which base URI.
struct Place {
    from: String,
    to: String,
    base: Url,
}

impl Place {
    fn root() -> Self {
        Self { from: String::new(), to: String::new(), base: base() }
    }

    /// The place of a member of a member.
    fn below(&self, from: &[&str], to: &[&str]) -> Self {
        let append = |pointer: &str, names: &[&str]| {
            names.iter().fold(pointer.to_owned(), |pointer, name| format!("{pointer}/{}", escaped(name)))
        };
        Self { from: append(&self.from, from), to: append(&self.to, to), base: self.base.clone() }
    }
}

impl Translator<'_> {
    fn schema(&mut self, schema: &Value, place: Place) -> Value {
        self.moved.insert(place.from.clone(), place.to.clone());
        match schema {
            Value::Object(fields) => {
                let base = self.places.base_of(schema, &place.base);
                self.fields(fields, &Place { base, ..place }).into()
            }
            // `"a": null` and PHP's `"a": []` say nothing of `a`; `"a": "string"` is short for its type.
            Value::Null => json!({}),
            Value::Array(list) if list.is_empty() => json!({}),
            Value::String(kind) => json!({"type": kind}),
            other => other.clone(),
        }
    }

    fn fields(&mut self, fields: &Map<String, Value>, place: &Place) -> Map<String, Value> {
        let mut out = Map::new();
        for (keyword, value) in fields {
            if value.is_null() && !VALUES.contains(&keyword.as_str()) || IDENTITY.contains(&keyword.as_str())
            {
                continue;
            }
            match keyword.as_str() {
                "id" if value.is_string() => {}
                "$ref" | "$dynamicRef" | "$recursiveRef" => self.reference(value, place, &mut out),
                "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                    self.named_schemas(keyword, value, place, &mut out);
                }
                "items" | "additionalItems" => self.items(keyword, value, fields, place, &mut out),
                "dependencies" => self.dependencies(value, place, &mut out),
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                    self.list(keyword, keyword, value, place, &mut out)
                }
                keyword if SCHEMA.contains(&keyword) => {
                    let translated = self.schema(value, place.below(&[keyword], &[keyword]));
                    out.insert(keyword.to_owned(), translated);
                }
                "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" => {
                    bound(keyword, value, fields, &mut out)
                }
                "required" => self.required(value, &mut out),
                "dependentRequired" => self.dependent_required(value, &mut out),
                "type" | "nullable" => kind(keyword, value, fields, &mut out),
                "divisibleBy" => drop(out.insert("multipleOf".to_owned(), value.clone())),
                _ => drop(out.insert(keyword.clone(), value.clone())),
            }
        }
        self.required_by_property(fields, &mut out);
        out
    }

    /// A reference within the document; one that leads elsewhere is dropped.
    fn reference(&mut self, value: &Value, place: &Place, out: &mut Map<String, Value>) {
        let target = value.as_str().and_then(|reference| self.places.resolve(reference, &place.base));
        if let Some(target) = target.filter(|_| !out.contains_key("$ref")) {
            out.insert("$ref".to_owned(), format!("{UNRESOLVED}{target}").into());
            self.wanted.push(target);
        }
    }

    fn named_schemas(&mut self, keyword: &str, value: &Value, place: &Place, out: &mut Map<String, Value>) {
        let to = if keyword == "definitions" { "$defs" } else { keyword };
        let schemas = match value {
            Value::Object(schemas) => schemas,
            Value::Array(list) if list.is_empty() => &Map::new(),
            other => return drop(out.insert(to.to_owned(), other.clone())),
        };
        let mut translated = match out.remove(to) {
            Some(Value::Object(earlier)) => earlier,
            _ => Map::new(),
        };
        for (name, schema) in schemas {
            let mut new = if keyword == "properties" { self.names.fit(name) } else { name.clone() };
            while translated.contains_key(&new) {
                new.push('_');
            }
            let schema = self.schema(schema, place.below(&[keyword, name], &[to, &new]));
            translated.insert(new, schema);
        }
        out.insert(to.to_owned(), translated.into());
    }

    /// Until 2019-09 an array of `items` was a tuple, and `additionalItems` what comes after it.
    fn items(
        &mut self,
        keyword: &str,
        value: &Value,
        fields: &Map<String, Value>,
        place: &Place,
        out: &mut Map<String, Value>,
    ) {
        let is_tuple = matches!(fields.get("items"), Some(Value::Array(items)) if !items.is_empty());
        match (keyword, value) {
            ("items", Value::Array(items)) if items.is_empty() => {}
            ("items", Value::Array(_)) => self.list("items", "prefixItems", value, place, out),
            ("additionalItems", _) if !is_tuple => {}
            _ => {
                let translated = self.schema(value, place.below(&[keyword], &["items"]));
                out.insert("items".to_owned(), translated);
            }
        }
    }

    fn list(&mut self, from: &str, to: &str, value: &Value, place: &Place, out: &mut Map<String, Value>) {
        let Value::Array(schemas) = value else { return drop(out.insert(to.to_owned(), value.clone())) };
        let translated: Vec<Value> = schemas
            .iter()
            .enumerate()
            .map(|(index, schema)| {
                let index = index.to_string();
                self.schema(schema, place.below(&[from, &index], &[to, &index]))
            })
            .collect();
        // 2020-12 allows no empty ones.
        if !translated.is_empty() {
            out.insert(to.to_owned(), translated.into());
        }
    }

    fn dependencies(&mut self, value: &Value, place: &Place, out: &mut Map<String, Value>) {
        let Value::Object(dependencies) = value else { return };
        for (name, dependency) in dependencies {
            let new = self.names.fit(name);
            let (to, translated) = match dependency {
                Value::Array(_) => ("dependentRequired", self.property_list(dependency)),
                Value::String(one) => ("dependentRequired", json!([self.names.fit(one)])),
                schema => {
                    let place = place.below(&["dependencies", name], &["dependentSchemas", &new]);
                    ("dependentSchemas", self.schema(schema, place))
                }
            };
            let all = out.entry(to.to_owned()).or_insert_with(|| json!({}));
            all[new] = translated;
        }
    }

    fn dependent_required(&mut self, value: &Value, out: &mut Map<String, Value>) {
        let Value::Object(dependencies) = value else { return };
        let all = out.entry("dependentRequired".to_owned()).or_insert_with(|| json!({}));
        for (name, list) in dependencies {
            all[self.names.fit(name)] = self.property_list(list);
        }
    }

    fn required(&mut self, value: &Value, out: &mut Map<String, Value>) {
        match value {
            // Draft-03's, which stands in the property itself; see `required_by_property`.
            Value::Bool(_) => {}
            Value::String(one) => drop(out.insert("required".to_owned(), json!([self.names.fit(one)]))),
            list => drop(out.insert("required".to_owned(), self.property_list(list))),
        }
    }

    /// The names in a list, each once.
    fn property_list(&mut self, list: &Value) -> Value {
        let Value::Array(names) = list else { return list.clone() };
        let mut seen = BTreeSet::new();
        names
            .iter()
            .filter(|name| name.as_str().is_none_or(|name| seen.insert(name.to_owned())))
            .map(|name| name.as_str().map_or_else(|| name.clone(), |name| self.names.fit(name).into()))
            .collect()
    }

    /// Draft-03 says `required: true` in the property that is required.
    fn required_by_property(&mut self, fields: &Map<String, Value>, out: &mut Map<String, Value>) {
        let Some(Value::Object(properties)) = fields.get("properties") else { return };
        for (name, _) in properties.iter().filter(|(_, property)| property["required"] == true) {
            let name = Value::from(self.names.fit(name));
            if let Value::Array(required) = out.entry("required".to_owned()).or_insert_with(|| json!([]))
                && !required.contains(&name)
            {
                required.push(name);
            }
        }
    }

    /// Brings the targets of references that stand where no keyword has schemas (`#/components/schemas/Pet`)
    /// to where one has.
    fn fetch_targets(&mut self, original: &Value, root: &mut Value) {
        let mut number = 0;
        while let Some(target) = self.wanted.pop() {
            if self.moved.contains_key(&target) {
                continue;
            }
            let Some(schema) = original.pointer(&target) else { continue };
            number += 1;
            let name = format!("referenced-{number}");
            let place = Place { from: target, to: format!("/$defs/{name}"), base: base() };
            let schema = self.schema(schema, place);
            if let Value::Object(fields) = root
                && let Value::Object(all) = fields.entry("$defs".to_owned()).or_insert_with(|| json!({}))
            {
                all.insert(name, schema);
            }
        }
    }

    /// Has every `$ref` name its target by the pointer in the result.
    fn rewrite_references(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(reference)) = fields.get_mut("$ref")
                    && let Some(target) = reference.strip_prefix(UNRESOLVED)
                {
                    let to = self.moved.get(target).map_or("", String::as_str);
                    *reference = format!("#{}", utf8_percent_encode(to, FRAGMENT));
                }
                fields.values_mut().for_each(|value| self.rewrite_references(value));
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.rewrite_references(value)),
            _ => {}
        }
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
    fn what_frameworks_write_for_nothing_is_nothing() {
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
    fn names_that_models_refuse_are_changed_wherever_they_stand() {
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
