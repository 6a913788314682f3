//! Property names that models take, and the way back.
//!
//! Bedrock takes `[a-zA-Z0-9_.-]{1,64}` and refuses a whole call for one name that is not. A name that fits stays
//! as it is; another is made to fit and ends in a digest of itself ([`crate::fit_name`]), so that no two become
//! one and none is met by chance in arguments.

use std::collections::HashMap;

use serde_json::Value;

use crate::fit_name::fit_name;

/// Bedrock's limit on a property's name, in bytes.
const MAX_NAME: usize = 64;
/// Keywords whose values are data, in which properties have their names too.
const DATA: [&str; 4] = ["enum", "const", "default", "examples"];

/// The names of one schema that were changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PropertyNames {
    original_of: HashMap<String, String>,
    fitted_of: HashMap<String, String>,
}

impl PropertyNames {
    /// The name as models take it, from now on standing for `original`.
    pub(super) fn fit(&mut self, original: &str) -> String {
        let fitted =
            fit_name(original, MAX_NAME, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if fitted != original {
            self.original_of.insert(fitted.clone(), original.to_owned());
            self.fitted_of.insert(original.to_owned(), fitted.clone());
        }
        fitted
    }

    /// What `original` was changed to, if it was.
    #[cfg(test)]
    pub(super) fn fitted(&self, original: &str) -> Option<String> {
        self.fitted_of.get(original).cloned()
    }

    /// A model's arguments under the names that the server gave.
    pub(super) fn original(&self, arguments: Value) -> Value {
        if self.original_of.is_empty() { arguments } else { renamed(arguments, &self.original_of) }
    }

    /// Changes the names in a schema's data: in what it allows, and in its examples.
    pub(super) fn rename_in_values(&self, schema: &mut Value) {
        if self.fitted_of.is_empty() {
            return;
        }
        match schema {
            Value::Object(fields) => {
                for (keyword, value) in fields {
                    match DATA.contains(&keyword.as_str()) {
                        true => *value = renamed(std::mem::take(value), &self.fitted_of),
                        false => self.rename_in_values(value),
                    }
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|value| self.rename_in_values(value)),
            _ => {}
        }
    }
}

fn renamed(value: Value, names: &HashMap<String, String>) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| (names.get(&name).cloned().unwrap_or(name), renamed(value, names)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(list) => list.into_iter().map(|value| renamed(value, names)).collect(),
        other => other,
    }
}
