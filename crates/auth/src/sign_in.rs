//! Signing in, and keeping what was got until it goes stale.
//!
//! One sign-in at a time per credential: whoever asks meanwhile waits for it and shares its outcome, a
//! failure too, so that twenty entries with one wrong password cost one attempt and lock nobody out.
//! Kept in this process alone; nothing is written anywhere.

use std::sync::Arc;

use aws_config::SdkConfig;
use jiff::Timestamp;
use moka::future::Cache;

use crate::{
    cognito::{Cognito, Tokens},
    config::{AuthConfig, CognitoConfig, CredentialKey},
    credential::Credential,
    error::AuthError,
};

/// Far more credentials than one secret holds (64 KiB); bounds what rotated ones leave behind.
const MAX_CREDENTIALS: u64 = 1_000;

type Outcome = Arc<Result<Tokens, AuthError>>;

/// Signs in to whatever an [`AuthConfig`] names. Cheap to clone; clones share their tokens.
#[derive(Clone)]
pub struct SignIn {
    cognito: Cognito,
    kept: Cache<CredentialKey, Outcome>,
}

impl SignIn {
    /// Signs in with `aws`'s HTTP client, time-outs and retries; its region counts for nothing.
    pub fn new(aws: SdkConfig) -> Self {
        Self { cognito: Cognito::new(aws), kept: Cache::new(MAX_CREDENTIALS) }
    }

    /// A credential that is good at `now`: the kept one, a refreshed one, or a new sign-in.
    ///
    /// # Errors
    /// [`AuthError`], by what to do about it. A failure is not kept: the next call tries again.
    pub async fn credential(&self, auth: &AuthConfig, now: Timestamp) -> Result<Credential, AuthError> {
        match auth {
            AuthConfig::None => Ok(Credential::none()),
            AuthConfig::Cognito(config) => self.cognito_token(config, now, |_| false).await,
        }
    }

    /// A credential other than `rejected`, which a server refused although it should be good.
    ///
    /// # Errors
    /// As [`Self::credential`].
    pub async fn renewed(
        &self,
        auth: &AuthConfig,
        rejected: &Credential,
        now: Timestamp,
    ) -> Result<Credential, AuthError> {
        match auth {
            AuthConfig::None => Ok(Credential::none()),
            AuthConfig::Cognito(config) => {
                self.cognito_token(config, now, |tokens| credential_of(tokens).is_same(rejected)).await
            }
        }
    }

    async fn cognito_token(
        &self,
        config: &CognitoConfig,
        now: Timestamp,
        is_rejected: impl Fn(&Tokens) -> bool + Send + Sync,
    ) -> Result<Credential, AuthError> {
        let key = config.key();
        let old = self.kept.get(&key).await;
        let usable = |outcome: &Outcome| {
            outcome.as_ref().as_ref().is_ok_and(|tokens| now < tokens.stale_from && !is_rejected(tokens))
        };
        if let Some(outcome) = old.as_ref().filter(|outcome| usable(outcome)) {
            return shared(outcome);
        }
        // A rejected token's refresh token may be revoked with it: only an expired one is refreshed.
        let refreshable = old.filter(|outcome| outcome.as_ref().as_ref().is_ok_and(|t| !is_rejected(t)));
        let flight = async { Arc::new(self.fetch(config, refreshable, now).await) };
        let entry = self.kept.entry(key).or_insert_with_if(flight, |outcome| !usable(outcome)).await;
        shared(entry.value())
    }

    async fn fetch(
        &self,
        config: &CognitoConfig,
        old: Option<Outcome>,
        now: Timestamp,
    ) -> Result<Tokens, AuthError> {
        let refresh = old.as_ref().and_then(|outcome| outcome.as_ref().as_ref().ok()?.refresh.as_ref());
        if let Some(refresh) = refresh {
            match self.cognito.refresh(config, refresh, now).await {
                Ok(tokens) => return Ok(tokens),
                Err(error) => tracing::info!(%error, "External MCP: refresh refused, signing in again"),
            }
        }
        self.cognito.sign_in(config, now).await
    }
}

fn shared(outcome: &Outcome) -> Result<Credential, AuthError> {
    outcome.as_ref().as_ref().map(credential_of).map_err(Clone::clone)
}

fn credential_of(tokens: &Tokens) -> Credential {
    Credential::bearer(tokens.access.clone())
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Mutex, MutexGuard},
        time::Duration,
    };

    use aws_config::BehaviorVersion;
    use aws_sdk_cognitoidentityprovider::config::Region;
    use aws_smithy_runtime_api::client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
    };
    use aws_smithy_types::body::SdkBody;
    use jiff::SignedDuration;

    use super::*;

    type Answer = fn(usize) -> (u16, String);

    /// A Cognito that takes a moment, then gives the answer to its n-th call; and the flows it was
    /// asked for.
    #[derive(Debug, Clone)]
    struct FakeCognito {
        answer: Answer,
        flows: Arc<Mutex<Vec<&'static str>>>,
    }

    impl HttpConnector for FakeCognito {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let body = request.body().bytes().unwrap_or_default();
            let refreshes = String::from_utf8_lossy(body).contains("REFRESH_TOKEN_AUTH");
            let mut flows = self.flows.lock().unwrap();
            flows.push(if refreshes { "refresh" } else { "password" });
            let (status, body) = (self.answer)(flows.len());
            HttpConnectorFuture::new(async move {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Ok(HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body)))
            })
        }
    }

    impl FakeCognito {
        fn flows(&self) -> MutexGuard<'_, Vec<&'static str>> {
            self.flows.lock().unwrap()
        }
    }

    fn sign_in(answer: Answer) -> (SignIn, FakeCognito) {
        let fake = FakeCognito { answer, flows: Arc::default() };
        let connector = SharedHttpConnector::new(fake.clone());
        let aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        (SignIn::new(aws), fake)
    }

    fn auth(password: &str) -> AuthConfig {
        AuthConfig::Cognito(CognitoConfig {
            user_pool_id: "us-east-1_Pool".parse().unwrap(),
            client_id: "client".into(),
            client_secret: None,
            username: "user".into(),
            password: password.into(),
        })
    }

    fn token(n: usize) -> (u16, String) {
        let body = format!(
            r#"{{"AuthenticationResult":{{"AccessToken":"token-{n}","RefreshToken":"r","ExpiresIn":3600}}}}"#
        );
        (200, body)
    }

    fn text(credential: &Credential) -> String {
        credential.authorization().unwrap().to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_token_is_kept_until_its_leeway_then_refreshed() {
        let (sign_in, cognito) = sign_in(token);
        let start = Timestamp::UNIX_EPOCH;
        let at = |seconds| start + SignedDuration::from_secs(seconds);
        assert_eq!(text(&sign_in.credential(&auth("p"), at(0)).await.unwrap()), "Bearer token-1");
        assert_eq!(text(&sign_in.credential(&auth("p"), at(3539)).await.unwrap()), "Bearer token-1");
        assert_eq!(text(&sign_in.credential(&auth("p"), at(3540)).await.unwrap()), "Bearer token-2");
        assert_eq!(*cognito.flows(), ["password", "refresh"]);
    }

    #[tokio::test]
    async fn a_refused_refresh_falls_back_to_the_password() {
        let (sign_in, cognito) = sign_in(|call| match call {
            2 => (400, r#"{"__type":"NotAuthorizedException"}"#.to_owned()),
            call => token(call),
        });
        sign_in.credential(&auth("p"), Timestamp::UNIX_EPOCH).await.unwrap();
        let later = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(2);
        assert_eq!(text(&sign_in.credential(&auth("p"), later).await.unwrap()), "Bearer token-3");
        assert_eq!(*cognito.flows(), ["password", "refresh", "password"]);
    }

    #[tokio::test]
    async fn a_rejected_token_is_replaced_once_for_all_who_hold_it() {
        let (sign_in, cognito) = sign_in(token);
        let now = Timestamp::UNIX_EPOCH;
        let rejected = sign_in.credential(&auth("p"), now).await.unwrap();
        assert_eq!(text(&sign_in.renewed(&auth("p"), &rejected, now).await.unwrap()), "Bearer token-2");
        assert_eq!(text(&sign_in.renewed(&auth("p"), &rejected, now).await.unwrap()), "Bearer token-2");
        assert_eq!(*cognito.flows(), ["password", "password"]);
    }

    #[tokio::test]
    async fn a_wrong_password_is_tried_once_for_all_who_wait() {
        let (sign_in, cognito) = sign_in(|_| (400, r#"{"__type":"NotAuthorizedException"}"#.to_owned()));
        let config = auth("wrong");
        let calls = (0..20).map(|_| sign_in.credential(&config, Timestamp::UNIX_EPOCH));
        let outcomes = futures::future::join_all(calls).await;
        assert!(outcomes.iter().all(Result::is_err));
        assert_eq!(cognito.flows().len(), 1);
        sign_in.credential(&config, Timestamp::UNIX_EPOCH).await.unwrap_err();
        assert_eq!(cognito.flows().len(), 2, "a failure is not kept");
    }

    #[tokio::test]
    async fn credentials_are_never_shared_between_passwords() {
        let (sign_in, cognito) = sign_in(token);
        sign_in.credential(&auth("one"), Timestamp::UNIX_EPOCH).await.unwrap();
        sign_in.credential(&auth("two"), Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(cognito.flows().len(), 2);
    }
}
