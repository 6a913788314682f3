//! The translation of a schema's keywords from older drafts and other dialects to 2020-12.
//!
//! Walks the whole schema once. Leaves each reference as a marked pointer into the original, and remembers where each
//! schema of the original is in the result; [`super::normalise`], the only caller, then resolves the references.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};
use url::Url;

use super::{
    dialects::{bound, kind},
    names::PropertyNames,
    references::{ReferenceTargets, base, escaped},
};

/// Marks a `$ref` that still contains the pointer of its target in the original document.
pub(super) const UNRESOLVED: &str = "\u{0}";
/// Keywords for the identity and the dialect of a schema. The result has one document and one dialect, so they are
/// dropped.
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
/// Keywords for which `null` is a value. For all others `null` counts as absent.
const VALUES: [&str; 2] = ["const", "default"];

/// The state of one translation.
pub(super) struct Translator<'a> {
    targets: ReferenceTargets<'a>,
    /// Pointers in the result, by the pointers in the original.
    moved: HashMap<String, String>,
    /// Pointers in the original that references name.
    referenced: Vec<String>,
    names: PropertyNames,
}

/// The place of a schema: its pointer in the original, its pointer in the result, and the base URI there.
pub(super) struct Place {
    from: String,
    to: String,
    base: Url,
}

impl Place {
    pub(super) fn root() -> Self {
        Self { from: String::new(), to: String::new(), base: base() }
    }

    /// Returns the place of a schema at the pointer `from` that becomes the definition `name` of the result.
    pub(super) fn in_defs(from: String, name: &str) -> Self {
        Self { from, to: format!("/$defs/{name}"), base: base() }
    }

    /// Returns the place below this one, by the member names in the original and in the result.
    fn below(&self, from: &[&str], to: &[&str]) -> Self {
        let append = |pointer: &str, names: &[&str]| {
            names.iter().fold(pointer.to_owned(), |pointer, name| format!("{pointer}/{}", escaped(name)))
        };
        Self { from: append(&self.from, from), to: append(&self.to, to), base: self.base.clone() }
    }
}

impl<'a> Translator<'a> {
    /// Prepares the translation of `original`.
    pub(super) fn new(original: &'a Value) -> Self {
        Self {
            targets: ReferenceTargets::of(original),
            moved: HashMap::new(),
            referenced: Vec::new(),
            names: PropertyNames::default(),
        }
    }

    /// Returns the property names that were changed.
    pub(super) fn into_names(self) -> PropertyNames {
        self.names
    }

    /// Returns the pointer of a referenced schema of the original that is not translated so far.
    pub(super) fn next_untranslated_target(&mut self) -> Option<String> {
        while let Some(target) = self.referenced.pop() {
            if !self.moved.contains_key(&target) {
                return Some(target);
            }
        }
        None
    }

    /// Returns the pointer in the result for a pointer in the original.
    pub(super) fn pointer_in_result(&self, original: &str) -> Option<&str> {
        self.moved.get(original).map(String::as_str)
    }

    /// Translates a schema and everything in it.
    pub(super) fn schema(&mut self, schema: &Value, place: Place) -> Value {
        self.moved.insert(place.from.clone(), place.to.clone());
        match schema {
            Value::Object(fields) => {
                let base = self.targets.base_of(schema, &place.base);
                self.fields(fields, &Place { base, ..place }).into()
            }
            // `"a": null` and PHP's `"a": []` allow any `a`; `"a": "string"` is short for its type.
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

    /// Marks a reference within the document; drops a reference out of it.
    fn reference(&mut self, value: &Value, place: &Place, out: &mut Map<String, Value>) {
        let target = value.as_str().and_then(|reference| self.targets.resolve(reference, &place.base));
        if let Some(target) = target.filter(|_| !out.contains_key("$ref")) {
            out.insert("$ref".to_owned(), format!("{UNRESOLVED}{target}").into());
            self.referenced.push(target);
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

    /// Translates tuples. Until 2019-09 an array of `items` was a tuple, and `additionalItems` the schema of the rest.
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
        // 2020-12 does not allow an empty list.
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
            // Draft-03's `required`, which is part of the property itself; see `required_by_property`.
            Value::Bool(_) => {}
            Value::String(one) => drop(out.insert("required".to_owned(), json!([self.names.fit(one)]))),
            list => drop(out.insert("required".to_owned(), self.property_list(list))),
        }
    }

    /// Returns the property names in a list, each once.
    fn property_list(&mut self, list: &Value) -> Value {
        let Value::Array(names) = list else { return list.clone() };
        let mut seen = BTreeSet::new();
        names
            .iter()
            .filter(|name| name.as_str().is_none_or(|name| seen.insert(name.to_owned())))
            .map(|name| name.as_str().map_or_else(|| name.clone(), |name| self.names.fit(name).into()))
            .collect()
    }

    /// Translates draft-03's `required: true`, which is part of the required property.
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
}
