//! Signs in with any [`AuthConfig`], and caches the tokens until they are stale.
//!
//! At most one sign-in runs per credential. Callers that ask meanwhile wait for it and get its result, a failure too, so
//! that twenty entries with one wrong password cost one attempt and do not lock the user out. Cognito's tokens are cached
//! in this process only; those of OAuth are in the vault, which all processes share, and cached here for a short time. A
//! failure is never returned to a later call. Called by `mcp`.

use std::sync::Arc;

use aws_config::SdkConfig;
use jiff::Timestamp;
use moka::future::Cache;

use crate::{
    cached_tokens::CachedTokens,
    cognito::Cognito,
    config::{AuthConfig, CognitoConfig},
    credential::Credential,
    error::AuthError,
    oauth::{OAuth, OAuthConfig},
};

/// Number of credentials that are cached: more than the entries of one secret (64 KiB) times the users of one process.
const MAX_CREDENTIALS: u64 = 5_000;

/// A digest of one credential, secrets included. Never stored or logged.
type CredentialKey = [u8; 32];
/// The result of a sign-in, shared by the callers that waited for it.
type Outcome = Arc<Result<CachedTokens, AuthError>>;

/// Signs in to MCP servers. Cheap to clone; clones share their cached tokens.
#[derive(Clone)]
pub struct SignIn {
    cognito: Cognito,
    oauth: OAuth,
    cache: Cache<CredentialKey, Outcome>,
}

/// A sign-in with the decision whose grant is used.
#[derive(Debug, Clone)]
pub struct DecidedSignIn {
    /// The configuration. If an OAuth grant was found, it lists that grant's owner alone.
    pub auth: AuthConfig,
    /// The state of that grant.
    pub state: SignInState,
}

/// The state of a sign-in, as the vault has it without unsealing the tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignInState {
    /// The sign-in is not OAuth, or a grant was found that has not ended.
    Usable,
    /// The grant that was found has ended.
    Ended,
    /// The sign-in is OAuth, and no grant was found. A client may still sign in for itself.
    Missing,
}

impl SignIn {
    /// Makes a `SignIn`. Cognito is called with the HTTP client, time-outs and retries of `aws`, in the region of each
    /// pool; OAuth servers are called through `oauth`.
    pub fn new(aws: SdkConfig, oauth: OAuth) -> Self {
        Self { cognito: Cognito::new(aws), oauth, cache: Cache::new(MAX_CREDENTIALS) }
    }

    /// The OAuth part, which leads a user through a sign-in.
    pub fn oauth(&self) -> &OAuth {
        &self.oauth
    }

    /// Returns a credential that can be used at `now`: the cached one, a refreshed one, or one of a new sign-in.
    ///
    /// # Errors
    /// [`AuthError`]. A failure is not cached: the next call tries again.
    pub async fn credential(&self, auth: &AuthConfig, now: Timestamp) -> Result<Credential, AuthError> {
        self.credential_except(auth, None, now).await
    }

    /// Decides whose sign-in is used for each of `auths`. Reads the vault in batches, and asks no server.
    ///
    /// # Errors
    /// [`AuthError`] if the vault does not answer.
    pub async fn decide(&self, auths: &[&AuthConfig]) -> Result<Vec<DecidedSignIn>, AuthError> {
        let configs = auths.iter().filter_map(|auth| auth.as_oauth());
        let found = self.oauth.find_owners(&configs.collect::<Vec<_>>()).await?;
        let mut found = found.into_iter();
        let decide = |auth: &&AuthConfig| match auth.as_oauth() {
            None => DecidedSignIn { auth: (*auth).clone(), state: SignInState::Usable },
            Some(config) => match found.next().flatten() {
                None => DecidedSignIn { auth: (*auth).clone(), state: SignInState::Missing },
                Some(grant) => DecidedSignIn {
                    auth: AuthConfig::OAuth(Box::new(OAuthConfig {
                        owners: vec![grant.owner],
                        ..config.clone()
                    })),
                    state: if grant.is_usable { SignInState::Usable } else { SignInState::Ended },
                },
            },
        };
        Ok(auths.iter().map(decide).collect())
    }

    /// Returns the error of a grant that has ended or is missing, if a user must sign in. Does not check scopes.
    ///
    /// # Errors
    /// [`AuthError::NeedsSignIn`].
    pub async fn check(&self, decided: &DecidedSignIn) -> Result<(), AuthError> {
        match (&decided.auth, decided.state) {
            (AuthConfig::OAuth(config), SignInState::Ended) => self.oauth.check_ended(config).await,
            (AuthConfig::OAuth(config), SignInState::Missing) => self.oauth.check_missing(config),
            _ => Ok(()),
        }
    }

    /// Returns a new credential in the place of `rejected`, which the server refused. With an API key or without a sign-in
    /// there is no other: this returns the same one.
    ///
    /// # Errors
    /// As [`Self::credential`].
    pub async fn renewed(
        &self,
        auth: &AuthConfig,
        rejected: &Credential,
        now: Timestamp,
    ) -> Result<Credential, AuthError> {
        self.credential_except(auth, Some(rejected), now).await
    }

    /// Returns a credential that also has `scopes`, which `held` lacks; `None` if the sign-in has no scopes.
    ///
    /// # Errors
    /// As [`Self::credential`]; [`AuthError::NeedsSignIn`] if only a user can grant the scopes.
    pub async fn stepped_up(
        &self,
        auth: &AuthConfig,
        held: &Credential,
        scopes: &[String],
        now: Timestamp,
    ) -> Result<Option<Credential>, AuthError> {
        let AuthConfig::OAuth(config) = auth else { return Ok(None) };
        let access = Box::pin(self.oauth.stepped_up(config, held, scopes, now)).await?;
        self.cache.invalidate(&config.fingerprint()).await;
        Ok(Some(Credential::bearer(&access.token).issued_here(access.issued_here)))
    }

    async fn credential_except(
        &self,
        auth: &AuthConfig,
        rejected: Option<&Credential>,
        now: Timestamp,
    ) -> Result<Credential, AuthError> {
        match auth {
            AuthConfig::None => Ok(Credential::none()),
            AuthConfig::ApiKey(config) => Ok(config.credential()),
            AuthConfig::Cognito(config) => {
                // Both futures are boxed: they are large, and the call chain that awaits them is deep.
                let fetch = |old| Box::pin(self.cognito_tokens(config, old, now));
                self.token(config.key(), rejected, now, fetch).await
            }
            AuthConfig::OAuth(config) => {
                let fetch = |_| Box::pin(self.oauth_tokens(config, rejected, now));
                self.token(config.fingerprint(), rejected, now, fetch).await
            }
        }
    }

    /// Returns the cached token if it can be used, else the one that `fetch` gets. `fetch` is passed the cached outcome,
    /// unless that one was rejected.
    async fn token<F: Future<Output = Result<CachedTokens, AuthError>>>(
        &self,
        key: CredentialKey,
        rejected: Option<&Credential>,
        now: Timestamp,
        fetch: impl FnOnce(Option<Outcome>) -> F,
    ) -> Result<Credential, AuthError> {
        let old = self.cache.get(&key).await;
        let is_rejected =
            |tokens: &CachedTokens| rejected.is_some_and(|rejected| credential_of(tokens).is_same(rejected));
        let usable = |outcome: &Outcome| {
            outcome.as_ref().as_ref().is_ok_and(|tokens| now < tokens.stale_from && !is_rejected(tokens))
        };
        if let Some(outcome) = old.as_ref().filter(|outcome| usable(outcome)) {
            return credential_from(outcome);
        }
        // The refresh token of a rejected access token may be revoked with it: only a stale token is refreshed.
        let refreshable = old.filter(|outcome| outcome.as_ref().as_ref().is_ok_and(|t| !is_rejected(t)));
        let fetched = async { Arc::new(fetch(refreshable).await) };
        let entry = self.cache.entry(key).or_insert_with_if(fetched, |outcome| !usable(outcome)).await;
        credential_from(entry.value())
    }

    async fn cognito_tokens(
        &self,
        config: &CognitoConfig,
        old: Option<Outcome>,
        now: Timestamp,
    ) -> Result<CachedTokens, AuthError> {
        let refresh = old.as_ref().and_then(|outcome| outcome.as_ref().as_ref().ok()?.refresh.as_ref());
        if let Some(refresh) = refresh {
            match self.cognito.refresh(config, refresh, now).await {
                Ok(tokens) => return Ok(tokens),
                Err(error) => {
                    tracing::info!(%error, "External MCP: refresh failed, signing in with the password")
                }
            }
        }
        self.cognito.sign_in(config, now).await
    }

    async fn oauth_tokens(
        &self,
        config: &OAuthConfig,
        rejected: Option<&Credential>,
        now: Timestamp,
    ) -> Result<CachedTokens, AuthError> {
        let access = self.oauth.access_token(config, rejected, now).await?;
        // The refresh token stays in the vault.
        Ok(CachedTokens {
            access: access.token,
            refresh: None,
            stale_from: access.stale_from,
            issued_here: access.issued_here,
        })
    }
}

fn credential_from(outcome: &Outcome) -> Result<Credential, AuthError> {
    outcome.as_ref().as_ref().map(credential_of).map_err(Clone::clone)
}

fn credential_of(tokens: &CachedTokens) -> Credential {
    Credential::bearer(&tokens.access).issued_here(tokens.issued_here)
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

    /// A Cognito stand-in that gives the answer to its n-th call after 20 ms, and records the flows of its calls.
    #[derive(Debug, Clone)]
    struct FakeCognito {
        answer: Answer,
        flows: Arc<Mutex<Vec<&'static str>>>,
    }

    impl HttpConnector for FakeCognito {
        fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
            let body = request.body().bytes().unwrap_or_default();
            let refreshes = String::from_utf8_lossy(body).contains("REFRESH_TOKEN_AUTH");
            let operation = request.headers().get("x-amz-target").unwrap_or_default();
            let mut flows = self.flows.lock().unwrap();
            flows.push(match operation.rsplit('.').next() {
                Some("GetTokensFromRefreshToken") => "rotate",
                _ if refreshes => "refresh",
                _ => "password",
            });
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
        let deadlines = egress::Deadlines { connect: Duration::from_secs(1), read: Duration::from_secs(1) };
        let http = egress::HttpClient::new(egress::EgressPolicy::default(), deadlines);
        (SignIn::new(aws, OAuth::new(http, Arc::new(vault::ProcessVault::default()))), fake)
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
        credential.headers().next().unwrap().1.to_str().unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_token_is_cached_until_it_is_stale_then_refreshed() {
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
            2 | 3 => (400, r#"{"__type":"NotAuthorizedException"}"#.to_owned()),
            call => token(call),
        });
        sign_in.credential(&auth("p"), Timestamp::UNIX_EPOCH).await.unwrap();
        let later = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(2);
        assert_eq!(text(&sign_in.credential(&auth("p"), later).await.unwrap()), "Bearer token-4");
        assert_eq!(*cognito.flows(), ["password", "refresh", "rotate", "password"]);
    }

    #[tokio::test]
    async fn an_app_client_that_rotates_refresh_tokens_is_refreshed_by_its_own_operation() {
        let (sign_in, cognito) = sign_in(|call| match call {
            2 => (400, r#"{"__type":"InvalidParameterException"}"#.to_owned()),
            call => token(call),
        });
        sign_in.credential(&auth("p"), Timestamp::UNIX_EPOCH).await.unwrap();
        let later = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(2);
        assert_eq!(text(&sign_in.credential(&auth("p"), later).await.unwrap()), "Bearer token-3");
        assert_eq!(*cognito.flows(), ["password", "refresh", "rotate"]);
    }

    #[tokio::test]
    async fn a_rejected_token_is_replaced_once_for_all_callers() {
        let (sign_in, cognito) = sign_in(token);
        let now = Timestamp::UNIX_EPOCH;
        let rejected = sign_in.credential(&auth("p"), now).await.unwrap();
        assert_eq!(text(&sign_in.renewed(&auth("p"), &rejected, now).await.unwrap()), "Bearer token-2");
        assert_eq!(text(&sign_in.renewed(&auth("p"), &rejected, now).await.unwrap()), "Bearer token-2");
        assert_eq!(*cognito.flows(), ["password", "password"]);
    }

    #[tokio::test]
    async fn a_wrong_password_is_tried_once_for_all_waiting_callers() {
        let (sign_in, cognito) = sign_in(|_| (400, r#"{"__type":"NotAuthorizedException"}"#.to_owned()));
        let config = auth("wrong");
        let calls = (0..20).map(|_| sign_in.credential(&config, Timestamp::UNIX_EPOCH));
        let outcomes = futures::future::join_all(calls).await;
        assert!(outcomes.iter().all(Result::is_err));
        assert_eq!(cognito.flows().len(), 1);
        sign_in.credential(&config, Timestamp::UNIX_EPOCH).await.unwrap_err();
        assert_eq!(cognito.flows().len(), 2, "a failure is not cached");
    }

    #[tokio::test]
    async fn credentials_are_never_shared_between_passwords() {
        let (sign_in, cognito) = sign_in(token);
        sign_in.credential(&auth("one"), Timestamp::UNIX_EPOCH).await.unwrap();
        sign_in.credential(&auth("two"), Timestamp::UNIX_EPOCH).await.unwrap();
        assert_eq!(cognito.flows().len(), 2);
    }
}
