//! Recognises a secret that is JSON but not an array of entries, and says what to write instead.
//!
//! The message shows one URL of the secret, without the parts that may be a credential, and nothing else of it.

use std::borrow::Cow;

use jsonc_parser::{ParseOptions, parse_to_serde_value};
use serde_json::{Map, Value};
use url::Url;

/// The parser's options: JSON with comments and trailing commas.
pub(crate) const OPTIONS: ParseOptions = ParseOptions {
    allow_comments: true,
    allow_trailing_commas: true,
    allow_loose_object_property_names: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

/// A secret that is not an array of entries: what it holds, and the remedy.
pub(crate) struct Shape {
    pub(crate) found: &'static str,
    pub(crate) remedy: Cow<'static, str>,
}

/// The names under which other MCP clients keep their list of servers.
const LISTS: [&str; 3] = ["mcpServers", "servers", "context_servers"];
/// The names that they, and we, have for a server's URL.
const URLS: [&str; 4] = ["url", "serverUrl", "httpUrl", "mcp_url"];
/// The length in characters up to which a segment of a URL's path is shown. Longer ones may be a key.
const MAX_SHOWN_SEGMENT: usize = 16;

impl Shape {
    pub(crate) fn of(value: Option<&Value>) -> Self {
        let shape = |found, remedy: &'static str| Self { found, remedy: remedy.into() };
        match value {
            Some(Value::Object(object)) => Self::of_object(object),
            Some(Value::String(_)) => shape("a text", "store the array itself, not the array inside quotes"),
            Some(_) => shape("a bare value", "store [] or an array of entries"),
            None => shape("nothing", "store [] or an array of entries"),
        }
    }

    fn of_object(object: &Map<String, Value>) -> Self {
        if let Some(servers) = list_of_servers(object) {
            return Self {
                found: "another MCP client's list of servers",
                remedy: instead_of(servers).into(),
            };
        }
        if object.values().all(Value::is_string) && !object.is_empty() {
            let found = "a single object, as the console's key/value form makes it,";
            return Self { found, remedy: instead_of_pairs(object).into() };
        }
        Self { found: "a single object", remedy: "put [ before it and ] after it".into() }
    }
}

/// Returns the servers of another MCP client's configuration, if the object is one: a named list, or a bare map of
/// servers.
fn list_of_servers(object: &Map<String, Value>) -> Option<&Map<String, Value>> {
    if let Some(servers) = LISTS.iter().find_map(|list| object.get(*list)?.as_object()) {
        return Some(servers);
    }
    // VS Code's settings keep the list one level deeper.
    if let Some(inner) = object.get("mcp").and_then(Value::as_object) {
        return list_of_servers(inner);
    }
    let is_server = |value: &Value| {
        let starts = value.get("command").is_some();
        starts || URLS.iter().any(|name| value.get(*name).is_some_and(Value::is_string))
    };
    (!object.is_empty() && object.values().all(is_server)).then_some(object)
}

fn instead_of(servers: &Map<String, Value>) -> String {
    let url_of = |server: &Value| URLS.iter().find_map(|name| Url::parse(server.get(*name)?.as_str()?).ok());
    if let Some(url) = servers.values().find_map(url_of) {
        return format!(
            "write an array with an entry for each server: [{{\"mcp_url\": \"{}\"}}]",
            shown(&url)
        );
    }
    let starts_program = |server: &Value| server.get("command").is_some();
    if servers.values().any(starts_program) {
        return "its servers start programs on one's own machine, which is not done here: run them somewhere \
                that speaks HTTP, and write [{\"mcp_url\": \"https://…\"}]"
            .to_owned();
    }
    "store [], or write an array with an entry for each server: [{\"mcp_url\": \"https://…\"}]".to_owned()
}

fn instead_of_pairs(pairs: &Map<String, Value>) -> String {
    let is_array = |value: &Value| {
        let text = value.as_str().unwrap_or_default();
        matches!(parse_to_serde_value::<Value>(text, &OPTIONS), Ok(Value::Array(_)))
    };
    if pairs.values().any(is_array) {
        return "choose Plaintext there, and store the array alone, without its key".to_owned();
    }
    let url = URLS.iter().find_map(|name| Url::parse(pairs.get(*name)?.as_str()?).ok());
    let Some(url) = url else {
        return "choose Plaintext there, and store [] or an array of entries; \
                if it is one entry, put [ before it and ] after it"
            .to_owned();
    };
    let url = shown(&url);
    format!(
        "choose Plaintext there, put [ before it and ] after it, and call the URL mcp_url: [{{\"mcp_url\": \"{url}\"}}]"
    )
}

/// Returns a URL without the parts that may be a credential: without user and query, and without its path if a segment
/// looks like a key.
fn shown(url: &Url) -> String {
    let is_word = |part: &str| {
        let is_version = part.len() <= 3;
        let is_plain = |c: char| c.is_ascii_lowercase() || matches!(c, '-' | '_' | '.');
        part.len() <= MAX_SHOWN_SEGMENT
            && part.chars().all(|c| is_plain(c) || is_version && c.is_ascii_digit())
    };
    if !matches!(url.scheme(), "https" | "http") {
        return "https://…".to_owned();
    }
    let path = if url.path().split('/').all(is_word) { url.path() } else { "/…" };
    let query = if url.query().is_some() { "?…" } else { "" };
    format!("{}{path}{query}", url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(value: Value, found: &str, remedy: &str) {
        let shape = Shape::of(Some(&value));
        assert!(shape.found.contains(found), "{value}: {}", shape.found);
        assert!(shape.remedy.contains(remedy), "{value}: {}", shape.remedy);
        assert!(!shape.remedy.contains("canary"), "{value}: {}", shape.remedy);
    }

    #[test]
    fn other_clients_lists_are_told_with_what_to_write_instead() {
        let docs = json!({"type": "http", "url": "https://docs.example.com/mcp", "headers": {"X": "canary"}});
        let instead = r#"[{"mcp_url": "https://docs.example.com/mcp"}]"#;
        let found = "another MCP client's list";
        for list in LISTS {
            check(json!({list: {"canary": docs}}), found, instead);
            check(json!({"inputs": [], list: {"local": {"command": "npx"}, "docs": docs}}), found, instead);
        }
        check(json!({"mcp": {"servers": {"docs": docs}}}), found, instead);
        check(json!({"docs": docs}), found, instead);
        check(
            json!({"mcpServers": {"a": {"serverUrl": "https://a.example/v1/mcp"}}}),
            found,
            "a.example/v1/mcp\"",
        );
        check(
            json!({"mcpServers": {"a": {"command": "npx", "env": {"KEY": "canary"}}}}),
            found,
            "start programs",
        );
        check(json!({"mcpServers": {}}), found, "store []");
    }

    #[test]
    fn what_may_be_a_credential_in_a_url_is_not_shown() {
        let at = |url: &str| json!({"mcpServers": {"a": {"url": url}}});
        check(at("https://canary:canary@a.example/mcp?key=canary#canary"), "", "https://a.example/mcp?…\"");
        check(at("https://a.example/s/Canary8canary/mcp"), "", "https://a.example/…\"");
        check(at("https://a.example/canarycanarycanary/mcp"), "", "https://a.example/…\"");
        check(at("data:canary"), "", "https://…\"");
        check(at("canary"), "", "https://…\"");
    }

    #[test]
    fn the_consoles_pairs_are_told() {
        let found = "key/value";
        check(
            json!({"mcp_url": "https://a.example/mcp", "credentials": "canary"}),
            found,
            r#"[{"mcp_url": "https://a.example/mcp"}]"#,
        );
        check(json!({"url": "https://a.example/mcp"}), found, "call the URL mcp_url");
        check(json!({"agents": "[{\"mcp_url\": \"https://canary\"}]"}), found, "the array alone");
        check(json!({"": ""}), found, "store []");
        check(json!({"canary": "canary"}), found, "[ before it");
        check(json!({"canary": 1}), "a single object", "[ before it");
        check(json!({}), "a single object", "[ before it");
    }
}
