//! The values of one entry's fields, each held as its kind says: credentials as [`SecretString`] from the moment the
//! JSON is parsed, and values of unknown fields not at all, since a misspelt field may hold a credential.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use super::{fields::FieldKind, table::entry_field};

/// Stands for a credential, and for a dropped value, which may be one, where an entry is shown.
const MASK: &str = "[credential]";

/// The fields of one entry by name. Its `Debug` output holds no credential.
#[derive(Debug, Clone, Default)]
pub struct EntryFields(BTreeMap<String, FieldValue>);

/// The value of one field.
#[derive(Debug, Clone)]
pub(super) enum FieldValue {
    /// The value of a field that holds no credential, of any JSON type. Also `null` in a field of any kind.
    Plain(Value),
    /// The text of a field that is a credential.
    Secret(SecretString),
    /// Header names and values; `None` for a value that is not a text.
    Headers(BTreeMap<String, Option<SecretString>>),
    /// A value that was dropped: of an unknown field, or of the wrong JSON type for a credential or for headers.
    Dropped,
}

impl EntryFields {
    /// Takes the fields out of one element of the secret's array; returns `None` if the element is not an object.
    pub fn from_json(value: Value) -> Option<Self> {
        let Value::Object(fields) = value else { return None };
        let fields = fields.into_iter().map(|(name, value)| {
            let value = FieldValue::new(&name, value);
            (name, value)
        });
        Some(Self(fields.collect()))
    }

    /// Sets a field to a text.
    pub fn set(&mut self, name: &str, text: impl Into<String>) {
        self.set_json(name, Value::String(text.into()));
    }

    /// Sets a field to a JSON value.
    pub fn set_json(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), FieldValue::new(name, value));
    }

    /// Sets a field to a credential.
    pub fn set_secret(&mut self, name: &str, secret: SecretString) {
        self.0.insert(name.to_owned(), FieldValue::Secret(secret));
    }

    /// Adds a header to `extra_headers`. Does nothing if that field is present but holds no object.
    pub fn add_extra_header(&mut self, name: &str, value: SecretString) {
        let headers = self.0.entry("extra_headers".to_owned());
        let headers = headers.or_insert_with(|| FieldValue::Headers(BTreeMap::new()));
        if let FieldValue::Headers(headers) = headers {
            headers.insert(name.to_owned(), Some(value));
        }
    }

    /// Removes a field.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Returns true if the field is there, empty or not.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Returns the text of a field that is no credential.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name)? {
            FieldValue::Plain(value) => value.as_str(),
            _ => None,
        }
    }

    /// Returns the named fields alone.
    pub fn only(&self, names: &[&str]) -> Self {
        let named = self.0.iter().filter(|(name, _)| names.contains(&name.as_str()));
        Self(named.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// Returns the entry as JSON to show, with `[credential]` in the place of every credential, and without the queries of
    /// URLs, which may hold one.
    pub fn masked(&self) -> Value {
        let is_url = |text: &&str| text.starts_with("https:") || text.starts_with("http:");
        let without_query = |value: &Value| {
            let url = value.as_str().filter(is_url).and_then(|text| text.split_once('?'));
            url.map_or_else(|| value.clone(), |(url, _)| format!("{url}?…").into())
        };
        let masked = |value: &FieldValue| match value {
            FieldValue::Plain(value) => without_query(value),
            FieldValue::Secret(_) | FieldValue::Dropped => MASK.into(),
            FieldValue::Headers(headers) => {
                json!(headers.keys().map(|name| (name, MASK)).collect::<BTreeMap<_, _>>())
            }
        };
        Value::Object(self.0.iter().map(|(name, value)| (name.clone(), masked(value))).collect())
    }

    /// Returns the entry as JSON with its credentials, to be written into the secret and nowhere else. Only for new
    /// entries: a dropped value becomes `null`, so an entry that was read is never written back.
    pub(crate) fn expose(&self) -> Map<String, Value> {
        let exposed = |value: &FieldValue| match value {
            FieldValue::Plain(value) => value.clone(),
            FieldValue::Secret(secret) => secret.expose_secret().into(),
            FieldValue::Headers(headers) => {
                let text =
                    |value: &Option<SecretString>| value.as_ref().map(|text| text.expose_secret().to_owned());
                json!(headers.iter().map(|(name, value)| (name, text(value))).collect::<BTreeMap<_, _>>())
            }
            FieldValue::Dropped => Value::Null,
        };
        self.0.iter().map(|(name, value)| (name.clone(), exposed(value))).collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&FieldValue> {
        self.0.get(name)
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}

impl FieldValue {
    fn new(name: &str, value: Value) -> Self {
        let kind = entry_field(name).map(|field| field.kind);
        let secret = |value: Value| match value {
            Value::String(text) => Some(SecretString::from(text)),
            _ => None,
        };
        match (kind, value) {
            (Some(FieldKind::Secret), Value::String(text)) => Self::Secret(text.into()),
            (Some(FieldKind::Headers), Value::Object(headers)) => {
                Self::Headers(headers.into_iter().map(|(name, value)| (name, secret(value))).collect())
            }
            (Some(FieldKind::Secret | FieldKind::Headers), Value::Null) => Self::Plain(Value::Null),
            (Some(FieldKind::Secret | FieldKind::Headers) | None, _) => Self::Dropped,
            (Some(FieldKind::Text | FieldKind::Words | FieldKind::Tools), value) => Self::Plain(value),
        }
    }

    /// Returns true if the field has a value: neither `null` nor blank, which mean the same to people who edit JSON. A
    /// dropped value counts.
    pub(super) fn is_given(&self) -> bool {
        match self {
            Self::Plain(Value::Null) => false,
            Self::Plain(Value::String(text)) => !text.trim().is_empty(),
            Self::Secret(text) => !text.expose_secret().trim().is_empty(),
            Self::Plain(_) | Self::Headers(_) | Self::Dropped => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> EntryFields {
        let entry = json!({
            "mcp_url": "https://a.example/mcp?key=canary",
            "credentials": "canary",
            "extra_headers": {"X-Api-Key": "canary"},
            "cognito_pasword": "canary",
            "tools": ["read_*"],
            "agent_description": "What is it for? Sums.",
        });
        EntryFields::from_json(entry).unwrap()
    }

    #[test]
    fn neither_debug_output_nor_a_shown_entry_holds_a_credential() {
        let (masked, debug) =
            (entry().masked(), format!("{:?}", entry().only(&["credentials", "extra_headers"])));
        assert!(!format!("{masked} {debug}").contains("canary"), "{masked} {debug}");
        assert_eq!(masked["mcp_url"], "https://a.example/mcp?…");
        assert_eq!(
            (&masked["credentials"], &masked["extra_headers"]["X-Api-Key"]),
            (&MASK.into(), &MASK.into())
        );
        assert_eq!(masked["tools"], json!(["read_*"]));
        assert_eq!(masked["agent_description"], "What is it for? Sums.");
    }

    #[test]
    fn what_is_written_has_the_credentials() {
        let written = entry().expose();
        assert_eq!(
            (&written["credentials"], &written["extra_headers"]),
            (&"canary".into(), &json!({"X-Api-Key": "canary"}))
        );
        assert_eq!(written["mcp_url"], "https://a.example/mcp?key=canary");
    }
}
