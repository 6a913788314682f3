//! Property names: changed to names that models accept, and changed back in arguments.
//!
//! Bedrock accepts `[a-zA-Z0-9_.-]{1,64}` and refuses a whole request for one other name. A name that fits is unchanged.
//! Another name is changed and ends in a digest of itself ([`crate::fit_name()`]), so that different names stay different
//! and no argument has such a name by chance. Called by [`super::translate`] and [`super::normalise`].

use std::collections::HashMap;

use serde_json::Value;

use crate::fit_name::fit_name;

/// Bedrock's limit on a property's name, in bytes.
const MAX_NAME: usize = 64;
/// Keywords whose values are data. Property names in them are changed too.
const DATA: [&str; 4] = ["enum", "const", "default", "examples"];

/// The property names of one schema that were changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PropertyNames {
    original_of: HashMap<String, String>,
    fitted_of: HashMap<String, String>,
}

impl PropertyNames {
    /// Returns the name for models and remembers it if it differs from `original`.
    pub(super) fn fit(&mut self, original: &str) -> String {
        let fitted =
            fit_name(original, MAX_NAME, |c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'));
        if fitted != original {
            self.original_of.insert(fitted.clone(), original.to_owned());
            self.fitted_of.insert(original.to_owned(), fitted.clone());
        }
        fitted
    }

    /// Returns the name that `original` was changed to; `None` if it was not changed.
    #[cfg(test)]
    pub(super) fn fitted(&self, original: &str) -> Option<String> {
        self.fitted_of.get(original).cloned()
    }

    /// Renames the properties in a model's arguments to the server's names.
    pub(super) fn original(&self, arguments: Value) -> Value {
        if self.original_of.is_empty() { arguments } else { renamed(arguments, &self.original_of) }
    }

    /// Changes the property names in a schema's data: in the values that it allows, its defaults and its examples.
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
