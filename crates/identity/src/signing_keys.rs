//! The public keys that a user pool signs its tokens with, cached.
//!
//! An unknown key id makes this process read the keys again, but at most once a minute: anybody can send tokens with
//! invented key ids. Keys that could not be read again stay in use.

use std::{collections::HashMap, sync::Arc, time::Duration};

use egress::{EgressError, HttpClient};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{
    DecodingKey,
    jwk::{AlgorithmParameters, JwkSet},
};
use tokio::{sync::Mutex, time::timeout};

use crate::error::AuthenticationError;

/// The age from which keys are read again, in seconds.
const MAX_AGE: SignedDuration = SignedDuration::from_hours(1);
/// The shortest interval between two reads, in seconds.
const MIN_INTERVAL: SignedDuration = SignedDuration::from_secs(60);
/// Time limit for one read, in seconds. A request that waits for it has 30.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The signing keys at one URL. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub(crate) struct SigningKeys {
    http: HttpClient,
    url: String,
    cache: Arc<Mutex<Cache>>,
}

#[derive(Default)]
struct Cache {
    keys: HashMap<String, DecodingKey>,
    /// The time of the last successful read.
    read_at: Option<Timestamp>,
    /// The time of the last attempt, successful or not.
    attempted_at: Option<Timestamp>,
}

impl SigningKeys {
    /// The keys at `url`, a JSON Web Key Set.
    pub(crate) fn new(http: HttpClient, url: String) -> Self {
        Self { http, url, cache: Arc::default() }
    }

    /// Returns the key with this id; `None` if the pool has no such key.
    ///
    /// # Errors
    /// [`AuthenticationError::KeysUnavailable`] if no keys were ever read.
    pub(crate) async fn find(
        &self,
        id: &str,
        now: Timestamp,
    ) -> Result<Option<DecodingKey>, AuthenticationError> {
        // Held during the read: of many requests with a new key id one reads the keys.
        let mut cache = self.cache.lock().await;
        let is_old = cache.read_at.is_none_or(|read_at| now.duration_since(read_at) >= MAX_AGE);
        let may_read = cache.attempted_at.is_none_or(|at| now.duration_since(at) >= MIN_INTERVAL);
        let must_read = cache.read_at.is_none();
        if must_read || (may_read && (is_old || !cache.keys.contains_key(id))) {
            cache.attempted_at = Some(now);
            match self.read().await {
                Ok(keys) => {
                    cache.keys = keys;
                    cache.read_at = Some(now);
                }
                Err(reason) if cache.read_at.is_none() => {
                    return Err(AuthenticationError::KeysUnavailable { reason });
                }
                Err(reason) => {
                    tracing::warn!(
                        reason,
                        "External MCP: the signing keys were not read again, those known stay in use"
                    );
                }
            }
        }
        Ok(cache.keys.get(id).cloned())
    }

    async fn read(&self) -> Result<HashMap<String, DecodingKey>, String> {
        let set = timeout(READ_TIMEOUT, self.fetch()).await;
        let set = set.map_err(|_| format!("no answer within {} s", READ_TIMEOUT.as_secs()))??;
        let rsa_key = |jwk: jsonwebtoken::jwk::Jwk| match (&jwk.algorithm, &jwk.common.key_id) {
            (AlgorithmParameters::RSA(_), Some(id)) => Some((id.clone(), DecodingKey::from_jwk(&jwk).ok()?)),
            _ => None,
        };
        Ok(set.keys.into_iter().filter_map(rsa_key).collect())
    }

    async fn fetch(&self) -> Result<JwkSet, String> {
        let told = |error: EgressError| error.to_string();
        let request = http::Request::get(&self.url).body(Vec::new()).map_err(|error| error.to_string())?;
        let response = self.http.send(request).await.map_err(told)?;
        if response.status() != 200 {
            return Err(format!("status {}", response.status().as_u16()));
        }
        let body = response.into_body().collect().await.map_err(told)?;
        serde_json::from_slice(&body).map_err(|_| "the answer is not a JSON Web Key Set".to_owned())
    }
}
