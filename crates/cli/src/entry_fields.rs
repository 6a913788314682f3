//! The fields of an entry as flags. Secrets come from files: what stands on a command line, everybody on the
//! machine can read.

use std::path::PathBuf;

use anyhow::anyhow;
use clap::Args;
use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use crate::prompt;

/// Fields of the entry, as docs/entries.md describes them. Secrets come from files; `-` is standard input.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fields of the entry")]
pub(crate) struct Fields {
    #[arg(long, value_name = "FILE")]
    credentials_file: Option<PathBuf>,
    #[arg(long, value_name = "SCHEME")]
    authorization_scheme: Option<String>,
    #[arg(long, value_name = "NAME")]
    api_key_header: Option<String>,
    #[arg(long, value_name = "TYPE")]
    grant_type: Option<String>,
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    #[arg(long, value_name = "FILE")]
    client_secret_file: Option<PathBuf>,
    #[arg(long, value_name = "FILE")]
    private_key_file: Option<PathBuf>,
    #[arg(long, value_name = "ID")]
    private_key_id: Option<String>,
    #[arg(long, value_name = "ALG")]
    signing_algorithm: Option<String>,
    #[arg(long, value_name = "WORDS")]
    scopes: Option<String>,
    #[arg(long)]
    audience: Option<String>,
    #[arg(long)]
    resource: Option<String>,
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    #[arg(long, value_name = "URL")]
    authorization_url: Option<String>,
    #[arg(long, value_name = "URL")]
    token_url: Option<String>,
    #[arg(long, value_name = "ID")]
    cognito_user_pool_id: Option<String>,
    #[arg(long, value_name = "ID")]
    cognito_client_id: Option<String>,
    #[arg(long, value_name = "FILE")]
    cognito_client_secret_file: Option<PathBuf>,
    #[arg(long, value_name = "NAME")]
    cognito_username: Option<String>,
    #[arg(long, value_name = "FILE")]
    cognito_password_file: Option<PathBuf>,
    #[arg(long)]
    region: Option<String>,
    #[arg(long)]
    qualifier: Option<String>,
    /// A header of the server's own, as NAME=FILE; the value is in the file.
    #[arg(long, value_name = "NAME=FILE")]
    extra_header: Vec<String>,
    /// Offer only the tools that match this glob; may be given again.
    #[arg(long, value_name = "GLOB")]
    allow_tool: Vec<String>,
    /// Do not offer the tools that match this glob; may be given again.
    #[arg(long, value_name = "GLOB")]
    deny_tool: Vec<String>,
}

impl Fields {
    /// Puts what was given into an entry.
    pub(crate) fn put_into(&self, entry: &mut Map<String, Value>) -> anyhow::Result<()> {
        for (field, text) in self.texts() {
            entry.extend(text.as_ref().map(|text| (field.to_owned(), text.as_str().into())));
        }
        let files = [
            ("credentials", &self.credentials_file),
            ("client_secret", &self.client_secret_file),
            ("private_key", &self.private_key_file),
            ("cognito_client_secret", &self.cognito_client_secret_file),
            ("cognito_password", &self.cognito_password_file),
        ];
        for (field, file) in files {
            if let Some(file) = file {
                let secret = prompt::secret(Some(file), field, "")?;
                entry.insert(field.to_owned(), secret.expose_secret().into());
            }
        }
        let mut headers = Map::new();
        for header in &self.extra_header {
            let (name, file) = header.split_once('=').ok_or(anyhow!("--extra-header is NAME=FILE"))?;
            let value = prompt::secret(Some(file.as_ref()), name, "")?;
            headers.insert(name.to_owned(), value.expose_secret().into());
        }
        if !headers.is_empty() {
            entry.insert("extra_headers".to_owned(), headers.into());
        }
        let tools = match (self.allow_tool.as_slice(), self.deny_tool.as_slice()) {
            ([], []) => return Ok(()),
            (allow, []) => json!(allow),
            ([], deny) => json!({"deny": deny}),
            (allow, deny) => json!({"allow": allow, "deny": deny}),
        };
        entry.insert("tools".to_owned(), tools);
        Ok(())
    }

    fn texts(&self) -> [(&'static str, &Option<String>); 17] {
        [
            ("authorization_scheme", &self.authorization_scheme),
            ("api_key_header", &self.api_key_header),
            ("grant_type", &self.grant_type),
            ("client_id", &self.client_id),
            ("private_key_id", &self.private_key_id),
            ("signing_algorithm", &self.signing_algorithm),
            ("scopes", &self.scopes),
            ("audience", &self.audience),
            ("resource", &self.resource),
            ("issuer", &self.issuer),
            ("authorization_url", &self.authorization_url),
            ("token_url", &self.token_url),
            ("cognito_user_pool_id", &self.cognito_user_pool_id),
            ("cognito_client_id", &self.cognito_client_id),
            ("cognito_username", &self.cognito_username),
            ("region", &self.region),
            ("qualifier", &self.qualifier),
        ]
    }
}
