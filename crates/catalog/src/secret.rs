//! The secret that lists the MCP servers: reading it, and its outermost form.
//!
//! Two real sources, Secrets Manager and a local file. What is read is JSON as people paste it: with
//! `//` and `/* */` comments and trailing commas, as the accelerator's own documentation shows it.
//! Errors say what is wrong, where and how to mend it, and quote nothing of the content but a server's URL ([`shape`]).

use std::{borrow::Cow, path::PathBuf};

use aws_sdk_secretsmanager::{Client, error::ProvideErrorMetadata};
use futures::future::BoxFuture;
use jsonc_parser::{ParseOptions, errors::ParseErrorKind, parse_to_serde_value};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

mod edit;
mod shape;

pub use edit::{SecretStore, edit_secret, with_entry, without_agent};
use shape::Shape;

/// Where the secret's text comes from.
pub trait SecretSource: Send + Sync {
    /// Reads the text as it is now.
    fn read(&self) -> BoxFuture<'_, Result<SecretString, SecretError>>;
}

/// A secret in Secrets Manager.
#[derive(Debug, Clone)]
pub struct SecretsManager {
    client: Client,
    id: String,
}

/// A secret in a local file, for the command line.
#[derive(Debug, Clone)]
pub struct SecretFile {
    path: PathBuf,
}

/// Why there are no entries at all, by what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// There is no such secret.
    #[error(
        "the secret {id} does not exist: create it holding [] or set EXTERNAL_MCP_AGENTS_SECRET to the name or ARN of the one to use"
    )]
    NotFound {
        /// Its name, ARN or path.
        id: String,
    },
    /// It may not be read.
    #[error(
        "reading the secret {id} was refused with {code}: allow this role secretsmanager:GetSecretValue on it, and kms:Decrypt on its key if it has one of its own"
    )]
    NotAllowed {
        /// Its name, ARN or path.
        id: String,
        /// The error's code.
        code: String,
    },
    /// Secrets Manager did not answer, or the file could not be read. The only passing fault.
    #[error("the secret {id} could not be read ({reason}): check the network of this function and try again")]
    Unreachable {
        /// Its name, ARN or path.
        id: String,
        /// What was said, without content.
        reason: String,
    },
    /// It may not be written.
    #[error(
        "writing the secret {id} was refused with {code}: this needs secretsmanager:PutSecretValue and secretsmanager:UpdateSecretVersionStage on it, or a file that you may write"
    )]
    NotWritten {
        /// Its name, ARN or path.
        id: String,
        /// The error's code.
        code: String,
    },
    /// Somebody else has written it since it was read.
    #[error("the secret {id} was changed by somebody else at the same time: look at it, and try again")]
    Changed {
        /// Its name, ARN or path.
        id: String,
    },
    /// No entry makes this agent.
    #[error("the secret holds no entry that makes the agent {agent}")]
    NoAgent {
        /// The agent's id.
        agent: String,
    },
    /// The invocation had no time left to wait for it.
    #[error("the secret was not read in time: try again; if it stays, check the network of this function")]
    TimedOut,
    /// It holds something else than text.
    #[error("the secret {id} holds binary data: store the JSON array as its text (SecretString)")]
    NotText {
        /// Its name, ARN or path.
        id: String,
    },
    /// The text is not JSON.
    #[error("the secret is not JSON: {problem} at line {line}, column {column}: {remedy}")]
    NotJson {
        /// What is wrong there.
        problem: String,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// How to mend it.
        remedy: &'static str,
    },
    /// The text is JSON, but not an array.
    #[error(
        "the secret holds {found} at line {line}, column {column}, where an array of entries belongs: {remedy}"
    )]
    NotAnArray {
        /// What kind of value it holds.
        found: &'static str,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// How to mend it.
        remedy: Cow<'static, str>,
    },
}

impl SecretError {
    /// The error's type as a Lambda answers it; others match on it.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "SecretNotFound",
            Self::NotAllowed { .. } => "SecretNotAllowed",
            Self::Unreachable { .. } | Self::TimedOut => "SecretUnreachable",
            Self::NotWritten { .. } => "SecretNotWritten",
            Self::Changed { .. } => "SecretChanged",
            Self::NoAgent { .. } => "NoAgent",
            Self::NotText { .. } => "SecretNotText",
            Self::NotJson { .. } => "SecretNotJson",
            Self::NotAnArray { .. } => "SecretNotAnArray",
        }
    }
}

impl SecretsManager {
    /// The secret with this name or ARN.
    pub fn new(client: Client, id: String) -> Self {
        Self { client, id }
    }

    async fn get(&self) -> Result<SecretString, SecretError> {
        Ok(self.get_version().await?.0)
    }

    async fn get_version(&self) -> Result<(SecretString, String), SecretError> {
        let id = self.id.clone();
        match self.client.get_secret_value().secret_id(&self.id).send().await {
            Ok(value) => {
                let text = value.secret_string.ok_or(SecretError::NotText { id })?;
                Ok((text.into(), value.version_id.unwrap_or_default()))
            }
            Err(error) => Err(match error.code() {
                Some("ResourceNotFoundException") => SecretError::NotFound { id },
                Some(
                    code @ ("AccessDeniedException" | "DecryptionFailure" | "UnrecognizedClientException"),
                ) => SecretError::NotAllowed { id, code: code.to_owned() },
                _ => SecretError::Unreachable { id, reason: aws_kit::reason(&error) },
            }),
        }
    }
}

impl SecretSource for SecretsManager {
    fn read(&self) -> BoxFuture<'_, Result<SecretString, SecretError>> {
        Box::pin(self.get())
    }
}

impl SecretFile {
    /// The file at `path`.
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    async fn get(&self) -> Result<SecretString, SecretError> {
        let id = self.path.display().to_string();
        let bytes = tokio::fs::read(&self.path).await.map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => SecretError::NotFound { id: id.clone() },
            std::io::ErrorKind::PermissionDenied => {
                SecretError::NotAllowed { id: id.clone(), code: "PermissionDenied".to_owned() }
            }
            kind => SecretError::Unreachable { id: id.clone(), reason: kind.to_string() },
        })?;
        String::from_utf8(bytes).map(Into::into).map_err(|_| SecretError::NotText { id })
    }
}

impl SecretSource for SecretFile {
    fn read(&self) -> BoxFuture<'_, Result<SecretString, SecretError>> {
        Box::pin(self.get())
    }
}

/// The elements of the array that the secret holds.
///
/// # Errors
/// [`SecretError::NotJson`], [`SecretError::NotAnArray`].
pub fn parse_secret(text: &SecretString) -> Result<Vec<Value>, SecretError> {
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
        return Ok(entries);
    }
    let Shape { found, remedy } = Shape::of(value.as_ref());
    let (line, column) = first_value(text);
    Err(SecretError::NotAnArray { found, line, column, remedy })
}

const OPTIONS: ParseOptions = ParseOptions {
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

/// The parser's own words, all of which are about form; those about strings may quote a character.
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

/// Line and column of the first character that is neither space nor comment.
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
    use aws_config::{BehaviorVersion, Region, SdkConfig};
    use aws_smithy_http_client::test_util::{ReplayEvent, StaticReplayClient};
    use aws_smithy_types::body::SdkBody;

    use super::*;

    /// What becomes of one answer of Secrets Manager.
    async fn read(status: u16, body: &str) -> Result<SecretString, SecretError> {
        let event = ReplayEvent::new(
            http::Request::builder().body(SdkBody::empty()).unwrap(),
            http::Response::builder().status(status).body(SdkBody::from(body)).unwrap(),
        );
        let aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(aws_sdk_secretsmanager::config::SharedCredentialsProvider::new(
                aws_sdk_secretsmanager::config::Credentials::for_tests(),
            ))
            .http_client(StaticReplayClient::new(vec![event]))
            .build();
        SecretsManager::new(Client::new(&aws), "the-secret".into()).read().await
    }

    #[tokio::test]
    async fn what_secrets_manager_says_is_told_by_what_to_do() {
        let check = async |body: &str, error_type: &str, part: &str| {
            let error = read(400, body).await.unwrap_err();
            assert_eq!(error.error_type(), error_type, "{body}");
            assert!(error.to_string().contains(part) && error.to_string().contains("the-secret"), "{error}");
        };
        let denied = r#"{"__type":"AccessDeniedException","message":"User x is not authorized"}"#;
        check(denied, "SecretNotAllowed", "secretsmanager:GetSecretValue").await;
        check(r#"{"__type":"DecryptionFailure"}"#, "SecretNotAllowed", "kms:Decrypt").await;
        check(r#"{"__type":"ResourceNotFoundException"}"#, "SecretNotFound", "create it holding []").await;
        check(r#"{"__type":"InvalidRequestException"}"#, "SecretUnreachable", "InvalidRequestException")
            .await;
        let binary = read(200, r#"{"SecretBinary":"AAAA"}"#).await.unwrap_err();
        assert_eq!(binary.error_type(), "SecretNotText");
        assert_eq!(read(200, r#"{"SecretString":"[]"}"#).await.unwrap().expose_secret(), "[]");
    }

    fn parse(text: &str) -> Result<Vec<Value>, SecretError> {
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
        assert_eq!(entries[0]["mcp_url"], "https://a.example//x");
        assert_eq!(entries[0]["cognito_password"], "a//b/*c*/");
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
