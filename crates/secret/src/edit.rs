//! Edits the secret: adds or removes one entry and leaves everything else as it is, comments included.
//!
//! A change is written on the condition that the secret has not changed since it was read; otherwise the change is made
//! again to the new text. The command line calls this; functions never write the secret.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

use aws_sdk_secretsmanager::error::ProvideErrorMetadata;
use futures::future::BoxFuture;
use jsonc_parser::cst::{CstInputValue, CstNode, CstRootNode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use url::Url;

use crate::{
    agents::agent_positions,
    entry::{EntryFields, parse_entries},
    error::SecretError,
    parse::parse_secret,
    shape::OPTIONS,
    source::{SecretFile, SecretSource, SecretsManager},
};

/// The number of attempts to write a change.
const MAX_ATTEMPTS: usize = 3;
/// The staging label of the new version until it becomes the current one.
const STAGE: &str = "MCP_AGENTS_EDIT";

/// A secret that can be written.
pub trait SecretStore: SecretSource {
    /// Reads the text and the id of its version.
    fn read_version(&self) -> BoxFuture<'_, Result<(SecretString, String), SecretError>>;
    /// Writes the text if `expected` is still the current version, otherwise fails with [`SecretError::Changed`].
    fn replace<'a>(
        &'a self,
        text: &'a SecretString,
        expected: &'a str,
    ) -> BoxFuture<'a, Result<(), SecretError>>;
}

/// Changes the secret: reads it, applies `change`, and writes it; again if it was changed in between.
///
/// # Errors
/// [`SecretError`]; [`SecretError::Changed`] if the secret was changed during every attempt.
pub async fn edit_secret(
    secret: &dyn SecretStore,
    change: impl Fn(&SecretString) -> Result<SecretString, SecretError>,
) -> Result<(), SecretError> {
    let mut attempts = 0;
    loop {
        let (text, version) = secret.read_version().await?;
        attempts += 1;
        match secret.replace(&change(&text)?, &version).await {
            Err(SecretError::Changed { .. }) if attempts < MAX_ATTEMPTS => {}
            written => return written,
        }
    }
}

/// Returns the secret with an entry appended.
///
/// # Errors
/// As [`parse_secret`].
pub fn with_entry(text: &SecretString, entry: &EntryFields) -> Result<SecretString, SecretError> {
    parse_secret(text)?;
    change_array(text, |root| {
        if let Some(array) = root.array_value() {
            array.append(input(&Value::Object(entry.expose())));
        }
    })
}

/// Returns the secret without the entry of an agent.
///
/// # Errors
/// As [`parse_secret`]; [`SecretError::NoAgent`].
pub fn without_agent(
    text: &SecretString,
    agent: &str,
    agentcore: Option<&Url>,
) -> Result<SecretString, SecretError> {
    let parsed = parse_entries(&parse_secret(text)?, agentcore);
    let position =
        agent_positions(&parsed).into_iter().find(|(id, _)| id == agent).map(|(_, position)| position);
    let position = position.ok_or_else(|| SecretError::NoAgent { agent: agent.to_owned() })?;
    change_array(text, |root| {
        let elements = root.array_value().map(|array| array.elements()).unwrap_or_default();
        if let Some(element) = elements.into_iter().nth(position - 1) {
            remove(element);
        }
    })
}

fn change_array(text: &SecretString, change: impl FnOnce(&CstRootNode)) -> Result<SecretString, SecretError> {
    let text = text.expose_secret();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // The callers have parsed the text before, so this error is not expected.
    let root = CstRootNode::parse(text, &OPTIONS).map_err(|_| SecretError::NotAnArray {
        found: "a bare value",
        line: 1,
        column: 1,
        remedy: "store [] or an array of entries".into(),
    })?;
    change(&root);
    Ok(root.to_string().into())
}

fn remove(element: CstNode) {
    match element {
        CstNode::Container(container) => container.remove(),
        CstNode::Leaf(leaf) => leaf.remove(),
    }
}

fn input(value: &Value) -> CstInputValue {
    match value {
        Value::Null => CstInputValue::Null,
        Value::Bool(bool) => CstInputValue::Bool(*bool),
        Value::Number(number) => CstInputValue::Number(number.to_string()),
        Value::String(text) => CstInputValue::String(text.clone()),
        Value::Array(values) => CstInputValue::Array(values.iter().map(input).collect()),
        Value::Object(fields) => {
            CstInputValue::Object(fields.iter().map(|(name, value)| (name.clone(), input(value))).collect())
        }
    }
}

impl SecretsManager {
    /// Writes a new version beside the current one, then moves the label AWSCURRENT from `expected` to it. Secrets
    /// Manager refuses the move if `expected` is no longer the current version.
    async fn put(&self, text: &SecretString, expected: &str) -> Result<(), SecretError> {
        let id = self.id.clone();
        let refused = |error: &dyn ProvideErrorMetadata, reason: String| match error.code() {
            Some("ResourceNotFoundException") => SecretError::NotFound { id: id.clone() },
            Some(code @ ("AccessDeniedException" | "UnrecognizedClientException")) => {
                SecretError::NotWritten { id: id.clone(), code: code.to_owned() }
            }
            _ => SecretError::Unreachable { id: id.clone(), reason },
        };
        let put = self
            .client
            .put_secret_value()
            .secret_id(&self.id)
            .secret_string(text.expose_secret())
            .version_stages(STAGE)
            .send()
            .await
            .map_err(|error| refused(&error, aws_kit::reason(&error)))?;
        let new = put.version_id.unwrap_or_default();
        let moved = self
            .client
            .update_secret_version_stage()
            .secret_id(&self.id)
            .version_stage("AWSCURRENT")
            .move_to_version_id(&new)
            .remove_from_version_id(expected)
            .send()
            .await;
        // The label is not needed any more. Secrets Manager deletes versions without a label in time.
        let cleared = self.client.update_secret_version_stage().secret_id(&self.id).version_stage(STAGE);
        if let Err(error) = cleared.remove_from_version_id(&new).send().await {
            tracing::debug!(reason = aws_kit::reason(&error), "a label of the secret was left behind");
        }
        match moved {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.code() {
                Some("InvalidParameterException" | "InvalidRequestException") => SecretError::Changed { id },
                _ => refused(&error, aws_kit::reason(&error)),
            }),
        }
    }
}

impl SecretStore for SecretsManager {
    fn read_version(&self) -> BoxFuture<'_, Result<(SecretString, String), SecretError>> {
        Box::pin(self.get_version())
    }

    fn replace<'a>(
        &'a self,
        text: &'a SecretString,
        expected: &'a str,
    ) -> BoxFuture<'a, Result<(), SecretError>> {
        Box::pin(self.put(text, expected))
    }
}

impl SecretStore for SecretFile {
    fn read_version(&self) -> BoxFuture<'_, Result<(SecretString, String), SecretError>> {
        Box::pin(async {
            let text = self.read().await?;
            let version = digest(text.expose_secret().as_bytes());
            Ok((text, version))
        })
    }

    fn replace<'a>(
        &'a self,
        text: &'a SecretString,
        expected: &'a str,
    ) -> BoxFuture<'a, Result<(), SecretError>> {
        let (path, text, expected) = (self.path.clone(), text.clone(), expected.to_owned());
        Box::pin(async move {
            let id = path.display().to_string();
            let written = tokio::task::spawn_blocking(move || replace_file(&path, &text, &expected)).await;
            match written.unwrap_or_else(|_| Err(io::Error::other("the writing thread panicked"))) {
                Ok(true) => Ok(()),
                Ok(false) => Err(SecretError::Changed { id }),
                Err(error) => Err(SecretError::NotWritten { id, code: error.kind().to_string() }),
            }
        })
    }
}

/// Replaces the file by a new one with the same permissions, if its content still has the digest `expected`. Returns
/// false if it has another.
fn replace_file(path: &Path, text: &SecretString, expected: &str) -> io::Result<bool> {
    let old = File::open(path)?;
    old.lock()?;
    if digest(&fs::read(path)?) != expected {
        return Ok(false);
    }
    // The name is random, so that another user cannot have put a link there.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut new = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))?;
    new.as_file().set_permissions(old.metadata()?.permissions())?;
    new.write_all(text.expose_secret().as_bytes())?;
    new.as_file().sync_all()?;
    new.persist(path).map_err(|error| error.error)?;
    Ok(true)
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = r#"// our servers
[
  // the calculator
  {"mcp_url": "https://a.example", "agent_name": "A"}, // keep
  {"mcp_url": 7},
  {"mcp_url": "https://b.example", "agent_name": "B"}
]
"#;

    fn exposed(text: &SecretString) -> Vec<Value> {
        let entries = parse_secret(text).unwrap();
        entries.into_iter().map(|entry| Value::Object(entry.unwrap().expose())).collect()
    }

    #[test]
    fn an_entry_comes_at_the_end_and_everything_else_stays() {
        let json =
            json!({"mcp_url": "https://c.example", "scopes": ["a"], "client_secret": "s", "region": null});
        let entry = EntryFields::from_json(json.clone()).unwrap();
        let changed = with_entry(&TEXT.into(), &entry).unwrap();
        let entries = exposed(&changed);
        assert_eq!((entries.len(), &entries[3]), (4, &json));
        for kept in ["// our servers", "// the calculator", "// keep"] {
            assert!(changed.expose_secret().contains(kept), "{}", changed.expose_secret());
        }
        let first = with_entry(&"[]".into(), &entry).unwrap();
        assert_eq!(exposed(&first), [json]);
        assert!(with_entry(&"{}".into(), &entry).is_err());
    }

    #[test]
    fn an_agents_entry_goes_and_everything_else_stays() {
        let changed = without_agent(&TEXT.into(), "b", None).unwrap();
        let expected = [json!({"mcp_url": "https://a.example", "agent_name": "A"}), json!({"mcp_url": 7})];
        assert_eq!(exposed(&changed), expected);
        assert!(changed.expose_secret().contains("// the calculator"));
        let changed = without_agent(&TEXT.into(), "a", None).unwrap();
        assert_eq!(parse_secret(&changed).unwrap().len(), 2);
        let missing = without_agent(&TEXT.into(), "c", None).unwrap_err();
        assert_eq!(missing.error_type(), "NoAgent");
    }

    #[tokio::test]
    async fn a_file_that_was_written_meanwhile_is_not_written_over() {
        let path = std::env::temp_dir().join(format!("mcp-agents-secret-{}", std::process::id()));
        fs::write(&path, "[]").unwrap();
        let file = SecretFile::new(path.clone());
        let (_, version) = file.read_version().await.unwrap();
        fs::write(&path, "[1]").unwrap();
        let error = file.replace(&"[2]".into(), &version).await.unwrap_err();
        assert_eq!(error.error_type(), "SecretChanged");
        assert_eq!(fs::read_to_string(&path).unwrap(), "[1]");
        edit_secret(&file, |_| Ok("[3]".into())).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "[3]");
        fs::remove_file(path).unwrap();
    }
}
