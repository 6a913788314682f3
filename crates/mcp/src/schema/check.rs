//! Checks arguments against a normalised schema, and schemas against the metaschema of 2020-12.
//!
//! Servers write patterns for other regex engines. A pattern that this engine cannot compile, or that would use too
//! much memory, is shown to the model and not checked. Loads no schema from the network or from files.

use std::{
    cell::OnceCell,
    sync::atomic::{AtomicUsize, Ordering},
};

use boon::{Compiler, SchemaIndex, Schemas, ValidationError};
use regex::RegexBuilder;
use serde_json::Value;

use super::steps::steps;

/// URI of a schema while it is compiled. Without one the validator would use a file URI and quote its path.
const LOCATION: &str = "https://schema.invalid/schema.json";
const METASCHEMA: &str = "https://json-schema.org/draft/2020-12/schema";
/// Maximum number of faults that are reported for the arguments of one call. The model corrects the first ones first.
const MAX_FAULTS: usize = 5;
/// Maximum length of the text of one fault, in characters. The validator quotes the arguments.
const MAX_FAULT: usize = 300;
/// Maximum number of schemas applied to values in one check: some 100 ms.
const MAX_STEPS: u64 = 300_000;
/// Maximum memory of one compiled pattern, in bytes.
const MAX_PATTERN_BYTES: usize = 64 * 1024;
/// Maximum number of patterns that are compiled for one list of tools. With [`MAX_PATTERN_BYTES`] at most 8 MB.
const MAX_PATTERNS: usize = 128;

/// The number of patterns that may still be compiled for one list of tools.
#[derive(Debug)]
pub struct PatternBudget {
    left: AtomicUsize,
}

impl Default for PatternBudget {
    fn default() -> Self {
        Self { left: AtomicUsize::new(MAX_PATTERNS) }
    }
}

impl PatternBudget {
    /// Takes one pattern from the budget. Returns true if there was one left and `pattern` can be compiled.
    fn admits(&self, pattern: &str) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            && RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).build().is_ok()
    }
}

/// Checks arguments against one schema.
pub struct ArgumentChecker {
    schema: Value,
    /// `None` if the schema cannot be compiled. Then only the server checks the arguments.
    compiled: Option<(Schemas, SchemaIndex)>,
}

impl ArgumentChecker {
    pub(super) fn new(normalised: &Value, budget: &PatternBudget) -> Self {
        let mut schema = normalised.clone();
        drop_patterns(&mut schema, &|pattern| budget.admits(pattern));
        let compiled = compile(schema.clone()).or_else(|| {
            drop_patterns(&mut schema, &|_| false);
            compile(schema.clone())
        });
        Self { schema, compiled }
    }

    /// Returns what is wrong with `arguments`, for the model to correct; `None` if nothing is wrong, or if the check
    /// would take more than some 100 ms. The time grows with the schema and the arguments: call it on a blocking
    /// thread.
    pub fn faults(&self, arguments: &Value) -> Option<String> {
        let (schemas, index) = self.compiled.as_ref()?;
        if steps(&self.schema, arguments) > MAX_STEPS {
            return None;
        }
        let error = schemas.validate(arguments, *index).err()?;
        let mut faults = Vec::new();
        gather(&error, &mut faults);
        Some(faults.join("; "))
    }
}

fn compile(schema: Value) -> Option<(Schemas, SchemaIndex)> {
    let (mut compiler, mut schemas) = (Compiler::new(), Schemas::new());
    // The loader knows no URL scheme, so nothing is loaded.
    compiler.use_loader(Box::new(boon::SchemeUrlLoader::new()));
    compiler.add_resource(LOCATION, schema).ok()?;
    let index = compiler.compile(LOCATION, &mut schemas).ok()?;
    Some((schemas, index))
}

/// Returns true if `pattern` is a regular expression for this engine, or for an engine that also supports lookaround
/// and backreferences.
pub(super) fn is_pattern(pattern: &str) -> bool {
    use regex_syntax::ast::{ErrorKind, parse::Parser};
    match Parser::new().parse(pattern) {
        Ok(_) => true,
        Err(error) => {
            matches!(error.kind(), ErrorKind::UnsupportedLookAround | ErrorKind::UnsupportedBackreference)
        }
    }
}

/// Removes the patterns that `admits` refuses. Where a pattern of `patternProperties` is removed, additional properties
/// become allowed, because they may be the ones that the pattern described.
pub(super) fn drop_patterns(schema: &mut Value, admits: &dyn Fn(&str) -> bool) {
    match schema {
        Value::Object(fields) => {
            if fields.get("pattern").is_some_and(|pattern| !pattern.as_str().is_some_and(admits)) {
                fields.remove("pattern");
            }
            if let Some(Value::Object(patterns)) = fields.get_mut("patternProperties") {
                let before = patterns.len();
                patterns.retain(|pattern, _| admits(pattern));
                if patterns.len() < before {
                    fields.remove("additionalProperties");
                    fields.remove("unevaluatedProperties");
                }
            }
            fields.values_mut().for_each(|value| drop_patterns(value, admits));
        }
        Value::Array(list) => list.iter_mut().for_each(|value| drop_patterns(value, admits)),
        _ => {}
    }
}

/// Returns the JSON pointer of the first place where `schema` is not a valid schema of 2020-12; `None` if it is valid.
pub(super) fn place_of_fault(schema: &Value) -> Option<String> {
    thread_local! {
        static COMPILED: OnceCell<Option<(Schemas, SchemaIndex)>> = const { OnceCell::new() };
    }
    COMPILED.with(|compiled| {
        let metaschema = compiled.get_or_init(|| {
            let mut schemas = Schemas::new();
            let index = Compiler::new().compile(METASCHEMA, &mut schemas).ok()?;
            Some((schemas, index))
        });
        let (schemas, index) = metaschema.as_ref()?;
        let error = schemas.validate(schema, *index).err()?;
        Some(deepest(&error))
    })
}

/// Returns the place of the first fault that has no further causes.
fn deepest(error: &ValidationError<'_, '_>) -> String {
    match error.causes.first() {
        Some(cause) => deepest(cause),
        None => error.instance_location.to_string().chars().take(MAX_FAULT).collect(),
    }
}

/// Collects the faults that have no further causes. The others only say that one of their causes failed.
fn gather(error: &ValidationError<'_, '_>, faults: &mut Vec<String>) {
    if faults.len() >= MAX_FAULTS {
        return;
    }
    if error.causes.is_empty() {
        let place = error.instance_location.to_string();
        let place = if place.is_empty() { "the arguments" } else { &place };
        let fault = format!("{place}: {}", error.kind);
        faults.push(fault.replace(LOCATION, "the schema").chars().take(MAX_FAULT).collect());
    }
    for cause in &error.causes {
        gather(cause, faults);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::schema::ToolSchema;

    fn faults(schema: Value, arguments: Value) -> Option<String> {
        let schema = ToolSchema::new(schema.as_object().unwrap()).unwrap();
        schema.checker(&PatternBudget::default()).faults(&arguments)
    }

    #[test]
    fn faults_name_the_place_in_the_arguments() {
        let schema = json!({"properties": {"a": {"type": "number"}}, "required": ["a", "b"]});
        assert_eq!(faults(schema.clone(), json!({"a": 1, "b": 2})), None);
        let found = faults(schema, json!({"a": "x"})).unwrap();
        assert!(found.contains("/a: want number") && found.contains("missing properties 'b'"), "{found}");
    }

    #[test]
    fn arguments_are_checked_against_combinators_and_references() {
        let schema = json!({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]});
        assert!(faults(schema.clone(), json!({})).is_some());
        assert_eq!(faults(schema, json!({"a": 1})), None);
        let schema = json!({"definitions": {"a b": {"type": "string"}}, "properties": {"x": {"$ref": "#/definitions/a%20b"}}});
        assert!(faults(schema.clone(), json!({"x": 1})).is_some());
        assert_eq!(faults(schema, json!({"x": "s"})), None);
    }

    #[test]
    fn a_pattern_that_cannot_be_compiled_is_not_checked() {
        let lookahead = json!({"properties": {"mail": {"type": "string", "pattern": "^(?!\\.).+@.+$"}}});
        assert_eq!(faults(lookahead.clone(), json!({"mail": "x"})), None);
        assert!(faults(lookahead, json!({"mail": 1})).is_some());
        let plain = json!({"properties": {"zip": {"pattern": "^[0-9]{5}$"}}});
        assert!(faults(plain, json!({"zip": "x"})).is_some());
        let names = json!({"patternProperties": {"^(?=x)": {}}, "additionalProperties": false});
        assert_eq!(faults(names, json!({"xa": 1})), None);
    }

    #[test]
    fn patterns_beyond_the_memory_limits_are_not_checked() {
        let big = json!({"properties": {"a": {"pattern": "^(\\w{1,500}){1,500}$"}}});
        assert_eq!(faults(big, json!({"a": "!"})), None);
        let many: serde_json::Map<String, Value> =
            (0..300).map(|n| (format!("p{n}"), json!({"pattern": format!("^{n}$")}))).collect();
        let schema = ToolSchema::new(json!({"properties": many}).as_object().unwrap()).unwrap();
        let budget = PatternBudget::default();
        let checker = schema.checker(&budget);
        let wrong = |n: usize| checker.faults(&json!({format!("p{n}"): "x"})).is_some();
        assert_eq!((0..300).filter(|n| wrong(*n)).count(), MAX_PATTERNS);
        assert!(!budget.admits("a"), "the budget is shared by the list");
    }

    #[test]
    fn arguments_that_would_take_too_long_are_left_to_the_server() {
        let twice = json!({"properties": {"next": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}});
        let deep = (0..60).fold(json!({"next": 5}), |below, _| json!({"next": below}));
        assert_eq!(faults(twice, deep), None);
        let circle = json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}]}}, "properties": {"x": {"$ref": "#/$defs/a"}}});
        assert_eq!(faults(circle, json!({"x": 1})), None);
    }
}
