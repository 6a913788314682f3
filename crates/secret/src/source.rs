//! Sources of the secret's text: Secrets Manager, or a local file for the command line.

use std::path::PathBuf;

use aws_sdk_secretsmanager::{Client, error::ProvideErrorMetadata};
use futures::future::BoxFuture;
use secrecy::SecretString;

use crate::error::SecretError;

/// A source of the secret's text.
pub trait SecretSource: Send + Sync {
    /// Reads the current text.
    fn read(&self) -> BoxFuture<'_, Result<SecretString, SecretError>>;
}

/// A secret in Secrets Manager.
#[derive(Debug, Clone)]
pub struct SecretsManager {
    pub(crate) client: Client,
    pub(crate) id: String,
}

/// A secret in a local file, for the command line.
#[derive(Debug, Clone)]
pub struct SecretFile {
    pub(crate) path: PathBuf,
}

impl SecretsManager {
    /// The secret with this name or ARN.
    pub fn new(client: Client, id: String) -> Self {
        Self { client, id }
    }

    async fn get(&self) -> Result<SecretString, SecretError> {
        Ok(self.get_version().await?.0)
    }

    pub(crate) async fn get_version(&self) -> Result<(SecretString, String), SecretError> {
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

#[cfg(test)]
mod tests {
    use aws_config::{BehaviorVersion, Region, SdkConfig};
    use aws_smithy_http_client::test_util::{ReplayEvent, StaticReplayClient};
    use aws_smithy_types::body::SdkBody;

    use secrecy::ExposeSecret;

    use super::*;

    /// Reads a secret from a Secrets Manager that gives one answer.
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
}
