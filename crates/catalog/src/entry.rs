//! One element of the secret's array: which fields it has, and what each must look like.
//!
//! An element is judged on its own; what is wrong with it is said by position and field, never by
//! value. A field nobody knows is a warning with the nearest known one; a field that is needed and
//! missing, or garbled, makes the element fall out.

use std::fmt;

use auth::{AuthConfig, CognitoConfig};
use mcp::McpServer;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

/// Every field an entry may have.
const FIELDS: [&str; 9] = [
    "mcp_url",
    "cognito_user_pool_id",
    "cognito_client_id",
    "cognito_client_secret",
    "cognito_username",
    "cognito_password",
    "agent_name",
    "agent_description",
    "transport",
];
/// What an entry with any `cognito_` field must have.
const COGNITO_NEEDS: [&str; 4] =
    ["cognito_user_pool_id", "cognito_client_id", "cognito_username", "cognito_password"];
/// How alike a misspelt field must be to be suggested, by Jaro-Winkler: 0.8 takes `mcp_ulr` and
/// `password` and leaves out what only shares a prefix.
const ALIKE: f64 = 0.8;
/// How much of a field's own name is shown: it is the user's text, and the longest known one has 20.
const SHOWN_NAME: usize = 40;

/// One element of the array, as far as it could be read.
#[derive(Debug)]
pub struct ParsedEntry {
    /// Counted from 1 over all elements.
    pub position: usize,
    /// The name given, if any.
    pub agent_name: Option<String>,
    /// The description given, if any.
    pub agent_description: Option<String>,
    /// The server, unless the element falls out.
    pub server: Option<McpServer>,
    /// What is wrong with it: with a server they are warnings, without one they say why.
    pub diagnostics: Vec<Diagnostic>,
}

/// What is wrong with one field of one element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The element's position, counted from 1.
    pub position: usize,
    /// The field, if it is about one.
    pub field: Option<String>,
    /// What is wrong and what to do.
    pub problem: String,
    /// Whether the element falls out because of it.
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

/// Reads the elements of the secret's array, each on its own.
pub fn parse_entries(values: &[Value]) -> Vec<ParsedEntry> {
    values.iter().enumerate().map(|(index, value)| parse_entry(index + 1, value)).collect()
}

fn parse_entry(position: usize, value: &Value) -> ParsedEntry {
    let mut entry = ParsedEntry {
        position,
        agent_name: None,
        agent_description: None,
        server: None,
        diagnostics: Vec::new(),
    };
    let Value::Object(fields) = value else {
        entry.diagnostics.push(Diagnostic {
            position,
            field: None,
            problem: "is not an object: write {\"mcp_url\": …}".to_owned(),
            fatal: true,
        });
        return entry;
    };
    let mut reader = Reader { position, fields, diagnostics: Vec::new() };
    reader.warn_of_unknown_fields();
    entry.agent_name = reader.label("agent_name");
    entry.agent_description = reader.label("agent_description");
    let url = reader.mcp_url();
    reader.check_transport();
    let auth = reader.auth();
    entry.diagnostics = reader.diagnostics;
    if !entry.diagnostics.iter().any(|diagnostic| diagnostic.fatal) {
        entry.server = url.zip(auth).map(|(url, auth)| McpServer { url, auth });
    }
    entry
}

/// Takes fields out of one object and notes what is wrong with them.
struct Reader<'a> {
    position: usize,
    fields: &'a Map<String, Value>,
    diagnostics: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn note(&mut self, field: &str, problem: impl Into<String>, fatal: bool) {
        let field = Some(field.chars().filter(|c| !c.is_control()).take(SHOWN_NAME).collect());
        self.diagnostics.push(Diagnostic { position: self.position, field, problem: problem.into(), fatal });
    }

    fn warn_of_unknown_fields(&mut self) {
        let unknown: Vec<&String> =
            self.fields.keys().filter(|name| !FIELDS.contains(&name.as_str())).collect();
        for name in unknown {
            let problem = match nearest(name) {
                Some(known) => format!("is unknown and ignored: did you mean {known}?"),
                None => format!("is unknown and ignored: known are {}", FIELDS.join(", ")),
            };
            self.note(name, problem, false);
        }
    }

    /// The text of a field; absent, `null` and empty are all the same to people who edit JSON.
    fn text(&mut self, field: &str) -> Option<String> {
        match self.fields.get(field)? {
            Value::Null => None,
            Value::String(text) if text.trim().is_empty() => None,
            Value::String(text) => Some(text.clone()),
            _ => {
                self.note(field, "is not a text: put its value in double quotes", true);
                None
            }
        }
    }

    /// A text that only labels: a wrong type is no reason to lose the agent.
    fn label(&mut self, field: &str) -> Option<String> {
        match self.fields.get(field)? {
            Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
            Value::Null | Value::String(_) => None,
            _ => {
                self.note(field, "is not a text and is ignored: put its value in double quotes", false);
                None
            }
        }
    }

    fn mcp_url(&mut self) -> Option<Url> {
        let Some(text) = self.text("mcp_url") else {
            if !self.diagnostics.iter().any(|d| d.fatal && d.field.as_deref() == Some("mcp_url")) {
                self.note("mcp_url", "is missing: give the https URL of the MCP endpoint", true);
            }
            return None;
        };
        let problem = match Url::parse(text.trim()) {
            Err(_) => "is not a URL: give one such as https://mcp.example.com/mcp",
            Ok(url) if !matches!(url.scheme(), "https" | "http") => "does not begin with https://",
            Ok(url) if url.host().is_none() => "has no host",
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                "holds a user name or password: use the fields for signing in instead"
            }
            Ok(mut url) => {
                url.set_fragment(None);
                return Some(url);
            }
        };
        self.note("mcp_url", problem, true);
        None
    }

    fn check_transport(&mut self) {
        match self.text("transport").as_deref() {
            None | Some("http" | "streamable_http") => {}
            Some(known @ ("sse" | "websocket")) => {
                self.note("transport", format!("{known} is not supported yet: use streamable_http"), true);
            }
            Some(_) => self.note("transport", "is unknown: use streamable_http, or leave it out", true),
        }
    }

    fn auth(&mut self) -> Option<AuthConfig> {
        let is_given = |name: &&str| match self.fields.get(*name) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.trim().is_empty(),
            Some(_) => true,
        };
        let given = FIELDS.iter().filter(|name| name.starts_with("cognito_")).any(is_given);
        if !given {
            return Some(AuthConfig::None);
        }
        for missing in COGNITO_NEEDS.iter().filter(|name| !is_given(name)).collect::<Vec<_>>() {
            self.note(missing, "is missing: signing in with Cognito needs it", true);
        }
        let pool = self.text("cognito_user_pool_id").and_then(|id| match id.trim().parse() {
            Ok(pool) => Some(pool),
            Err(error) => {
                self.note("cognito_user_pool_id", format!("{error}"), true);
                None
            }
        });
        let client_id = self.text("cognito_client_id");
        let client_secret = self.text("cognito_client_secret").map(SecretString::from);
        let username = self.text("cognito_username");
        let password = self.text("cognito_password").map(SecretString::from);
        Some(AuthConfig::Cognito(CognitoConfig {
            user_pool_id: pool?,
            client_id: client_id?.trim().to_owned(),
            client_secret,
            username: username?,
            password: password?,
        }))
    }
}

fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase();
    let alike = |known: &&'static str| {
        // `password` for `cognito_password` is the commonest slip of all.
        let bare = known.split_once('_').map_or(*known, |(_, bare)| bare);
        strsim::jaro_winkler(&name, known).max(strsim::jaro_winkler(&name, bare))
    };
    FIELDS.iter().copied().max_by(|a, b| alike(a).total_cmp(&alike(b))).filter(|known| alike(known) >= ALIKE)
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
        let entry = parse_entry(3, &value);
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
        check(with("cognito_client_secret", json!("canary")), true, &[]);
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
        check(with("transport", json!("sse")), false, &["sse is not supported yet"]);
        check(with("transport", json!("canary")), false, &["field transport: is unknown"]);
    }

    #[test]
    fn warnings_leave_the_entry_working() {
        check(with("cognito_pasword", json!("canary")), true, &["did you mean cognito_password?"]);
        check(with("name", json!("canary")), true, &["did you mean agent_name?"]);
        check(with("xyzzy", json!("canary")), true, &["known are mcp_url"]);
        check(with("agent_name", json!(7)), true, &["field agent_name: is not a text and is ignored"]);
    }
}
