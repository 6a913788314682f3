//! Sealing: each write encrypts the text with AES-256-GCM under a new data key of KMS, and stores the encrypted data key.
//!
//! KMS decrypts a data key only with the same encryption context (owner, issuer, resource), and CloudTrail logs who asked
//! for it. The item's key in the table is authenticated with the text, so that no item can replace another.
//!
//! Source: <https://docs.aws.amazon.com/kms/latest/developerguide/kms-cryptography.html#enveloping>

use std::collections::HashMap;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_sdk_kms::{Client, primitives::Blob, types::DataKeySpec};
use secrecy::{ExposeSecret, SecretString};

use super::{Content, Key, VaultError};

/// Maximum length of each part of the encryption context, in bytes. KMS takes 8 KB of all parts.
const MAX_CONTEXT: usize = 1_000;

/// The sealer: seals and unseals texts with one KMS key. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Sealer {
    kms: Client,
    key_id: String,
}

/// A sealed text.
#[derive(Debug, Clone)]
pub(super) struct Sealed {
    /// The data key, encrypted by KMS.
    pub(super) data_key: Vec<u8>,
    /// The nonce, followed by the text encrypted with AES-256-GCM.
    pub(super) text: Vec<u8>,
}

impl Sealer {
    /// Creates a sealer for the KMS key with this id or ARN.
    pub fn new(kms: Client, key_id: String) -> Self {
        Self { kms, key_id }
    }

    pub(super) async fn seal(&self, key: &Key, content: &Content) -> Result<Sealed, VaultError> {
        let answer = self
            .kms
            .generate_data_key()
            .key_id(&self.key_id)
            .key_spec(DataKeySpec::Aes256)
            .set_encryption_context(Some(context(content)))
            .send()
            .await
            .map_err(|error| VaultError::unavailable(aws_kit::reason(&error)))?;
        let unusable = || VaultError::unavailable("KMS gave no data key");
        let (Some(plain), Some(sealed)) = (answer.plaintext, answer.ciphertext_blob) else {
            return Err(unusable());
        };
        let mut text = content.text.expose_secret().as_bytes().to_vec();
        let data_key = RandomizedNonceKey::new(&AES_256_GCM, plain.as_ref()).map_err(|_| unusable())?;
        let nonce = data_key.seal_in_place_append_tag(Aad::from(beside(key, content)), &mut text);
        let nonce = nonce.map_err(|_| unusable())?;
        Ok(Sealed { data_key: sealed.into_inner(), text: [nonce.as_ref().as_slice(), &text].concat() })
    }

    pub(super) async fn unseal(
        &self,
        key: &Key,
        content: &Content,
        sealed: Sealed,
    ) -> Result<SecretString, VaultError> {
        let answer = self
            .kms
            .decrypt()
            .key_id(&self.key_id)
            .ciphertext_blob(Blob::new(sealed.data_key))
            .set_encryption_context(Some(context(content)))
            .send()
            .await;
        let answer = answer.map_err(|error| {
            use aws_sdk_kms::error::ProvideErrorMetadata;
            match error.code() {
                Some("InvalidCiphertextException" | "IncorrectKeyException") => VaultError::Unreadable,
                _ => VaultError::unavailable(aws_kit::reason(&error)),
            }
        })?;
        let plain = answer.plaintext.ok_or(VaultError::Unreadable)?;
        let data_key =
            RandomizedNonceKey::new(&AES_256_GCM, plain.as_ref()).map_err(|_| VaultError::Unreadable)?;
        if sealed.text.len() < NONCE_LEN {
            return Err(VaultError::Unreadable);
        }
        let (nonce, text) = sealed.text.split_at(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::Unreadable)?;
        let mut text = text.to_vec();
        let opened = data_key.open_in_place(nonce, Aad::from(beside(key, content)), &mut text);
        let opened = opened.map_err(|_| VaultError::Unreadable)?;
        let text = std::str::from_utf8(opened).map_err(|_| VaultError::Unreadable)?;
        Ok(text.into())
    }
}

/// The additional authenticated data: the item's key, owner, issuer and resource, which are stored unencrypted and cannot
/// be exchanged.
fn beside(key: &Key, content: &Content) -> String {
    let sub = content.sub.as_ref().map(|sub| format!("\n{sub}")).unwrap_or_default();
    format!("{}{sub}", key.as_str())
}

/// Returns the encryption context of a data key. CloudTrail logs it unencrypted.
fn context(content: &Content) -> HashMap<String, String> {
    let cut = |text: &str| text.chars().take(MAX_CONTEXT).collect::<String>();
    [("owner", &content.owner), ("issuer", &content.issuer), ("resource", &content.resource)]
        .map(|(name, value)| (name.to_owned(), cut(value)))
        .into()
}
