//! Parses the secret's text: a JSON array of entries, in which comments and trailing commas are allowed.

use jsonc_parser::{errors::ParseErrorKind, parse_to_serde_value};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::{
    entry::EntryFields,
    error::SecretError,
    shape::{OPTIONS, Shape},
};

/// Returns the elements of the array, `None` for one that is not an object. Credentials are in `SecretString`s from here
/// on.
///
/// # Errors
/// [`SecretError::NotJson`], [`SecretError::NotAnArray`].
pub fn parse_secret(text: &SecretString) -> Result<Vec<Option<EntryFields>>, SecretError> {
    let text = text.expose_secret();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value =
        parse_to_serde_value::<Option<Value>>(text, &OPTIONS).map_err(|error| SecretError::NotJson {
            problem: problem(error.kind()),
            line: error.line_display(),
            column: error.column_display(),
            remedy: remedy(error.kind()),
        })?;
    if let Some(Value::Array(entries)) = value {
        return Ok(entries.into_iter().map(EntryFields::from_json).collect());
    }
    let Shape { found, remedy } = Shape::of(value.as_ref());
    let (line, column) = first_value(text);
    Err(SecretError::NotAnArray { found, line, column, remedy })
}

/// Returns the parser's message, which is about syntax alone. Messages about strings are replaced: they may quote the
/// text.
fn problem(kind: &ParseErrorKind) -> String {
    match kind {
        ParseErrorKind::String(_) => "a text that is not closed or holds an invalid escape".to_owned(),
        ParseErrorKind::Custom(_) => "a value that does not fit".to_owned(),
        kind => {
            let words = kind.to_string();
            let mut letters = words.chars();
            letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
        }
    }
}

fn remedy(kind: &ParseErrorKind) -> &'static str {
    match kind {
        ParseErrorKind::ExpectedComma => "put a comma between the two, or check the quote before it",
        ParseErrorKind::UnterminatedArray => "close the array with ]",
        ParseErrorKind::UnterminatedObject => "close the object with }",
        ParseErrorKind::UnterminatedCommentBlock => "close the comment with */",
        ParseErrorKind::String(_) => {
            "close the quote; inside a text write \\\" for a quote and \\\\ for a backslash"
        }
        ParseErrorKind::SingleQuotedStringsNotAllowed => "use double quotes",
        ParseErrorKind::ExpectedStringObjectProperty | ParseErrorKind::UnexpectedWord => {
            "put double quotes around names and texts"
        }
        ParseErrorKind::UnexpectedToken | ParseErrorKind::UnexpectedTokenInObject => {
            "look for curly quotes or a stray character there"
        }
        ParseErrorKind::MultipleRootJsonValues => "put all entries into one array",
        _ => "look for a missing or doubled comma, colon, quote or bracket there",
    }
}

/// Returns line and column, counted from 1, of the first character that is neither space nor comment.
fn first_value(text: &str) -> (usize, usize) {
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let end = match rest.get(..2) {
            Some("//") => rest.find('\n'),
            Some("/*") => rest.find("*/").map(|end| end + 2),
            _ => break,
        };
        rest = end.map_or("", |end| &rest[end..]);
    }
    let before = &text[..text.len() - rest.len()];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Option<EntryFields>>, SecretError> {
        parse_secret(&text.into())
    }

    fn check_error(text: &str, error_type: &str, part: &str) {
        let error = parse(text).expect_err(text);
        assert_eq!(error.error_type(), error_type, "{text}");
        assert!(error.to_string().contains(part), "{text}: {error}");
        assert!(!error.to_string().contains("canary"), "{text}: {error}");
    }

    #[test]
    fn comments_and_trailing_commas_are_accepted() {
        let text = r#"// servers
        [ { "mcp_url": "https://a.example//x", //<!-- pragma: allowlist secret -->
            "cognito_password": "a//b/*c*/", /* a
            block */ }, ]
        // the end"#;
        let entries = parse(text).unwrap();
        let entry = entries[0].as_ref().unwrap().expose();
        assert_eq!(entry["mcp_url"], "https://a.example//x");
        assert_eq!(entry["cognito_password"], "a//b/*c*/");
        assert_eq!(parse("[]").unwrap().len(), 0);
        assert_eq!(parse("\u{feff}[]").unwrap().len(), 0);
    }

    #[test]
    fn what_is_not_json_is_placed_and_not_quoted() {
        check_error("[\n  {\"a\": \"canary\" \"b\": 1}\n]", "SecretNotJson", "line 2, column 17");
        check_error("[{\"a\": \"canary}]", "SecretNotJson", "line 1");
        check_error("[{'a': 'canary'}]", "SecretNotJson", "double quotes");
        check_error("[{canary: 1}]", "SecretNotJson", "double quotes");
        check_error("[{\"a\": “canary”}]", "SecretNotJson", "curly quotes");
        check_error("[{\"canary\": 1}", "SecretNotJson", "close the array");
        check_error("[{\"a\": canary}]", "SecretNotJson", "line 1, column 8");
        check_error("[{\"a\": \"\\canary\"}]", "SecretNotJson", "backslash");
        check_error("[] [\"canary\"]", "SecretNotJson", "one array");
    }

    #[test]
    fn what_is_not_an_array_is_named_and_placed() {
        check_error("// one\n {\"canary\": 1}", "SecretNotAnArray", "single object at line 2, column 2");
        check_error("\"[canary]\"", "SecretNotAnArray", "inside quotes");
        check_error("7", "SecretNotAnArray", "bare value");
        check_error("", "SecretNotAnArray", "nothing");
        check_error(" /* only this */ ", "SecretNotAnArray", "nothing");
    }
}
