//! Entries: the elements of the secret's array, each validated on its own.
//!
//! A problem is reported with the entry's position and the field's name, never with a value. An entry is skipped if a
//! field that it needs is missing, if a field has a wrong value, or if a field does not belong to its `auth_type`.
//! Without `auth_type`, such a field is ignored with a warning. [`ENTRY_FIELDS`] is the table of all fields.

mod agentcore;
mod fields;
mod hints;
mod server;
mod sign_in;
mod table;
mod values;

use std::fmt;

use mcp::McpServer;
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

pub use fields::{AuthType, EntryField, FieldKind};
pub use table::ENTRY_FIELDS;
pub use values::EntryFields;
use values::FieldValue;

/// The length in characters at which a field's name is cut in messages. The longest known name has 21.
const MAX_SHOWN_NAME: usize = 40;

/// One entry after validation.
#[derive(Debug)]
pub struct ParsedEntry {
    /// The position in the array, counted from 1 over all elements.
    pub position: usize,
    /// The value of `agent_name`, if given.
    pub agent_name: Option<String>,
    /// The value of `agent_description`, if given.
    pub agent_description: Option<String>,
    /// The server; `None` if the entry is skipped.
    pub server: Option<McpServer>,
    /// The problems: warnings if there is a server, otherwise the reasons why the entry is skipped.
    pub diagnostics: Vec<Diagnostic>,
}

/// A problem with one entry, or with one of its fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The entry's position, counted from 1.
    pub position: usize,
    /// The field, if the problem is about one.
    pub field: Option<String>,
    /// The problem, and what to do about it.
    pub problem: String,
    /// True if the entry is skipped because of it.
    pub fatal: bool,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {}", self.position)?;
        if let Some(field) = &self.field {
            write!(f, ", field {field}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// Validates the entries, each on its own; `None` is an element that is not an object. AgentCore runtimes are reached
/// at `agentcore` if it is given, otherwise at AWS's endpoint.
pub fn parse_entries(entries: &[Option<EntryFields>], agentcore: Option<&Url>) -> Vec<ParsedEntry> {
    let numbered = entries.iter().enumerate();
    numbered.map(|(index, fields)| parse_entry(index + 1, fields.as_ref(), agentcore)).collect()
}

fn parse_entry(position: usize, fields: Option<&EntryFields>, agentcore: Option<&Url>) -> ParsedEntry {
    let mut entry = ParsedEntry {
        position,
        agent_name: None,
        agent_description: None,
        server: None,
        diagnostics: Vec::new(),
    };
    let Some(fields) = fields else {
        entry.diagnostics.push(Diagnostic {
            position,
            field: None,
            problem: "is not an object: write {\"mcp_url\": …}".to_owned(),
            fatal: true,
        });
        return entry;
    };
    let mut reader = Reader { position, fields, diagnostics: Vec::new() };
    let kind = reader.auth_type();
    entry.agent_name = reader.label("agent_name");
    entry.agent_description = reader.label("agent_description");
    let server = reader.server(kind, agentcore);
    entry.diagnostics = reader.diagnostics;
    if !entry.diagnostics.iter().any(|diagnostic| diagnostic.fatal) {
        entry.server = server;
    }
    entry
}

/// Reads the fields of one entry and collects the problems with them.
struct Reader<'a> {
    position: usize,
    fields: &'a EntryFields,
    diagnostics: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn note(&mut self, field: &str, problem: impl Into<String>, fatal: bool) {
        let field = Some(field.chars().filter(|c| !c.is_control()).take(MAX_SHOWN_NAME).collect());
        self.diagnostics.push(Diagnostic { position: self.position, field, problem: problem.into(), fatal });
    }

    /// Returns true if the field is there and is neither `null` nor blank.
    fn is_given(&self, field: &str) -> bool {
        self.fields.get(field).is_some_and(FieldValue::is_given)
    }

    /// Returns the text of a field that is no credential, if it is given.
    fn text(&mut self, field: &str) -> Option<String> {
        match self.fields.get(field).filter(|value| value.is_given())? {
            FieldValue::Plain(Value::String(text)) => Some(text.clone()),
            _ => {
                self.note(field, "is not a text: put its value in double quotes", true);
                None
            }
        }
    }

    /// Returns the text of a field that is a credential, if it is given.
    fn secret(&mut self, field: &str) -> Option<SecretString> {
        match self.fields.get(field).filter(|value| value.is_given())? {
            FieldValue::Secret(text) => Some(text.clone()),
            _ => {
                self.note(field, "is not a text: put its value in double quotes", true);
                None
            }
        }
    }

    /// Returns the text of a label, if it is given. A value of another type is only a warning.
    fn label(&mut self, field: &str) -> Option<String> {
        match self.fields.get(field).filter(|value| value.is_given())? {
            FieldValue::Plain(Value::String(text)) => Some(text.clone()),
            _ => {
                self.note(field, "is not a text and is ignored: put its value in double quotes", false);
                None
            }
        }
    }

    /// Returns the JSON value of a field that is no credential; `None` if the field is absent or `null`.
    fn json(&self, field: &str) -> Option<&Value> {
        match self.fields.get(field)? {
            FieldValue::Plain(value) => Some(value).filter(|value| !value.is_null()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn full() -> Value {
        json!({
            "mcp_url": "https://mcp.example.com/mcp",
            "cognito_user_pool_id": "us-east-1_AbCdEf123",
            "cognito_client_id": "client",
            "cognito_username": "user",
            "cognito_password": "canary",
        })
    }

    fn with(field: &str, value: Value) -> Value {
        let mut entry = full();
        entry[field] = value;
        entry
    }

    fn notes(value: Value) -> (bool, Vec<String>) {
        let fields = EntryFields::from_json(value);
        let entry = parse_entry(3, fields.as_ref(), None);
        let notes: Vec<String> = entry.diagnostics.iter().map(ToString::to_string).collect();
        assert!(!format!("{notes:?} {entry:?}").contains("canary"), "{notes:?}");
        (entry.server.is_some(), notes)
    }

    fn check(value: Value, works: bool, expected: &[&str]) {
        let (worked, notes) = notes(value.clone());
        assert_eq!(worked, works, "{value}: {notes:?}");
        assert_eq!(notes.len(), expected.len(), "{value}: {notes:?}");
        for (note, part) in notes.iter().zip(expected) {
            assert!(note.starts_with("entry 3") && note.contains(part), "{value}: {note}");
        }
    }

    #[test]
    fn good_entries_pass_without_a_word() {
        check(full(), true, &[]);
        check(json!({"mcp_url": "https://mcp.example.com"}), true, &[]);
        check(
            json!({"mcp_url": "https://a.example", "cognito_password": "", "cognito_username": null}),
            true,
            &[],
        );
        check(with("transport", json!("http")), true, &[]);
        check(with("transport", json!("streamable_http")), true, &[]);
        check(with("transport", json!("sse")), true, &[]);
        check(with("cognito_client_secret", json!("canary")), true, &[]);
    }

    #[test]
    fn fields_of_other_clients_are_told_for_what_they_are() {
        let entry = |field: &str, value: Value| json!({"mcp_url": "https://a.example/mcp", field: value});
        for field in ["url", "serverUrl", "httpUrl"] {
            check(entry(field, json!("https://canary")), true, &["written as mcp_url"]);
        }
        check(entry("type", json!("canary")), true, &["written as transport"]);
        check(entry("headers", json!({"Authorization": "canary"})), true, &["written as extra_headers"]);
        for field in ["command", "args", "env"] {
            check(entry(field, json!(["canary"])), true, &["starts a program"]);
        }
        check(json!({"command": "npx"}), false, &["starts a program", "field mcp_url: is missing"]);
        check(json!({"mcpServers": {}}), false, &["an entry of its own", "field mcp_url: is missing"]);
        let told = json!({"auth_type": "none", "mcp_url": "https://a.example", "url": "https://canary"});
        check(told, false, &["is not a field of auth_type none: the server's URL is written as mcp_url"]);
        check(entry("transport", json!("streamable-http")), true, &[]);
        check(entry("transport", json!("streamableHttp")), true, &[]);
        check(entry("transport", json!("stdio")), false, &["starts a program"]);
    }

    #[test]
    fn what_is_missing_or_garbled_is_named_by_field() {
        check(json!(null), false, &["is not an object"]);
        check(json!(["canary"]), false, &["is not an object"]);
        check(json!({}), false, &["field mcp_url: is missing"]);
        check(with("mcp_url", json!(7)), false, &["field mcp_url: is not a text"]);
        check(with("mcp_url", json!("mcp.example.com/canary")), false, &["field mcp_url: is not a URL"]);
        check(with("mcp_url", json!("ftp://mcp.example.com")), false, &["field mcp_url: does not begin"]);
        check(with("mcp_url", json!("https://u:canary@mcp.example.com")), false, &["holds a user name"]);
        check(with("cognito_user_pool_id", json!("evil.example/canary_x")), false, &["not a user pool id"]);
        check(with("cognito_password", json!("")), false, &["field cognito_password: is missing"]);
        check(with("cognito_password", json!(7)), false, &["field cognito_password: is not a text"]);
        check(with("cognito_username", json!(null)), false, &["field cognito_username: is missing"]);
        check(with("transport", json!("websocket")), false, &["websocket is not supported yet"]);
        check(with("transport", json!("canary")), false, &["field transport: is unknown"]);
    }

    #[test]
    fn warnings_leave_the_entry_working() {
        check(with("cognito_pasword", json!("canary")), true, &["did you mean cognito_password?"]);
        check(with("name", json!("canary")), true, &["did you mean agent_name?"]);
        check(with("xyzzy", json!("canary")), true, &["is unknown and ignored"]);
        check(with("agent_name", json!(7)), true, &["field agent_name: is not a text and is ignored"]);
    }

    fn of(auth_type: &str, fields: Value) -> Value {
        let mut entry = json!({"mcp_url": "https://a.example/mcp", "auth_type": auth_type});
        entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        entry
    }

    #[test]
    fn every_kind_of_sign_in_can_be_said() {
        check(of("none", json!({})), true, &[]);
        check(of("cognito", full()), true, &[]);
        check(of("api_key", json!({"credentials": "canary"})), true, &[]);
        check(
            of("token", json!({"credentials": "Token canary", "authorization_scheme": "Token"})),
            true,
            &[],
        );
        check(of("api_key", json!({"credentials": "canary", "api_key_header": "X-Api-Key"})), true, &[]);
        check(of("oauth2", json!({})), true, &[]);
        check(of("oauth2", json!({"client_id": "a", "client_secret": "canary", "scopes": "a b"})), true, &[]);
        check(
            of("oauth2", json!({"client_id": "a", "private_key": "canary", "scopes": ["a", "b"]})),
            true,
            &[],
        );
        check(
            of("oauth2", json!({"resource": "omit", "audience": "x", "issuer": "https://i.example"})),
            true,
            &[],
        );
        check(json!({"mcp_url": "https://a.example", "credentials": "canary"}), true, &[]);
        check(json!({"mcp_url": "https://a.example", "client_id": "a"}), true, &[]);
        check(of("none", json!({"extra_headers": {"X-Client": "canary"}})), true, &[]);
        check(of("none", json!({"cognito_username": "", "client_id": null})), true, &[]);
    }

    #[test]
    fn a_named_sign_in_refuses_what_does_not_belong_to_it() {
        check(
            of("none", json!({"cognito_username": "x"})),
            false,
            &["field cognito_username: does not belong to auth_type none but to cognito"],
        );
        check(of("oauth2", json!({"client_secrett": "canary"})), false, &["did you mean client_secret?"]);
        check(
            of("api_key", json!({"credentials": "c", "xyzzy": "canary"})),
            false,
            &["xyzzy: is not a field of"],
        );
        check(of("magic", json!({})), false, &["field auth_type: is unknown"]);
        check(
            json!({"mcp_url": "https://a.example", "cognito_username": "u", "credentials": "canary"}),
            false,
            &[
                "field credentials: is ignored: it belongs to auth_type api_key, and this is cognito",
                "cognito_user_pool_id: is missing",
                "cognito_client_id: is missing",
                "cognito_password: is missing",
            ],
        );
    }

    #[test]
    fn what_a_sign_in_lacks_or_garbles_is_named() {
        check(of("api_key", json!({})), false, &["field credentials: is missing"]);
        check(of("api_key", json!({"credentials": "can\nary"})), false, &["credentials: has characters"]);
        check(
            of("api_key", json!({"credentials": "canary", "api_key_header": "Host"})),
            false,
            &["field api_key_header: is not a header"],
        );
        check(of("oauth2", json!({"client_secret": "canary"})), false, &["field client_id: is missing"]);
        check(
            of("oauth2", json!({"grant_type": "client_credentials", "client_id": "a"})),
            false,
            &["field client_secret: is missing"],
        );
        check(of("oauth2", json!({"grant_type": "implicit"})), false, &["field grant_type: is unknown"]);
        check(
            of("oauth2", json!({"token_url": "http://a.example/"})),
            false,
            &["token_url: is not an https URL"],
        );
        check(of("oauth2", json!({"resource": "canary"})), false, &["field resource: is neither"]);
        check(of("oauth2", json!({"scopes": 7})), false, &["field scopes: is neither"]);
        check(
            of("none", json!({"extra_headers": {"Authorization": "canary", "Mcp-Name": "x"}})),
            false,
            &["field extra_headers.Authorization: is a header that", "field extra_headers.Mcp-Name"],
        );
        check(
            of("none", json!({"extra_headers": ["canary"]})),
            false,
            &["field extra_headers: is not an object"],
        );
    }

    #[test]
    fn tools_are_chosen_by_lists_of_globs() {
        let offers = |tools: Value, name: &str| {
            let fields = EntryFields::from_json(of("none", json!({"tools": tools})));
            let entry = parse_entry(1, fields.as_ref(), None);
            entry.server.map(|server| server.tools.offers(name))
        };
        assert_eq!(offers(json!("all"), "x"), Some(true));
        assert_eq!(offers(json!(["read_*"]), "read_it"), Some(true));
        assert_eq!(offers(json!(["read_*"]), "x"), Some(false));
        assert_eq!(offers(json!({"deny": ["x"]}), "x"), Some(false));
        assert_eq!(offers(json!({"allow": ["*"], "deny": ["x"]}), "y"), Some(true));
        for garbled in
            [json!(7), json!("x"), json!([7]), json!({"alow": []}), json!({"allow": "x"}), json!(["["])]
        {
            assert_eq!(offers(garbled.clone(), "x"), None, "{garbled}");
        }
    }

    #[test]
    fn agentcore_is_named_by_its_arn() {
        let arn = "arn:aws:bedrock-agentcore:us-west-2:228145693324:runtime/r-1";
        let by_arn = |fields: Value| {
            let mut entry = json!({"agent_runtime_arn": arn, "auth_type": "oauth2"});
            entry.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
            entry
        };
        check(by_arn(json!({})), true, &[]);
        check(by_arn(json!({"region": "us-west-2", "qualifier": "prod"})), true, &[]);
        check(json!({"mcp_url": arn, "auth_type": "oauth2"}), true, &[]);
        check(by_arn(json!({"region": "eu-west-1"})), false, &["field region: is another one"]);
        check(by_arn(json!({"mcp_url": "https://a.example"})), false, &["is given beside mcp_url"]);
        check(json!({"agent_runtime_arn": "arn:canary"}), false, &["is not a runtime's ARN"]);
        check(
            json!({"agent_runtime_arn": arn, "auth_type": "api_key", "credentials": "canary"}),
            false,
            &["field auth_type: api_key does not work with AgentCore"],
        );
    }
}
