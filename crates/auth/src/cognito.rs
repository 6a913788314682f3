//! Signs in a Cognito user with a password (`InitiateAuth`), and refreshes its tokens.
//!
//! Calls go to the pool's own region, wherever this process runs. Caches no tokens ([`crate::SignIn`] does) and answers no
//! challenges: a service user that gets one is misconfigured.
//!
//! Source: <https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_InitiateAuth.html>

use aws_config::SdkConfig;
use aws_sdk_cognitoidentityprovider::{
    Client,
    config::Region,
    error::{ProvideErrorMetadata, SdkError},
    operation::initiate_auth::InitiateAuthOutput,
    types::{AuthFlowType, AuthenticationResultType},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::{cached_tokens::CachedTokens, config::CognitoConfig, error::AuthError};

/// Time before its expiry from which a token is stale, in seconds, so that it does not expire during a request. A tenth of
/// the token's life if that is shorter (Cognito's shortest life is 5 minutes).
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// Calls `InitiateAuth` in the region of each pool.
#[derive(Debug, Clone)]
pub(crate) struct Cognito {
    aws: SdkConfig,
}

impl Cognito {
    pub(crate) fn new(aws: SdkConfig) -> Self {
        Self { aws }
    }

    /// Signs in with the password.
    #[tracing::instrument(name = "auth.cognito.login", skip_all, fields(aws.region = config.user_pool_id.region()))]
    pub(crate) async fn sign_in(
        &self,
        config: &CognitoConfig,
        now: Timestamp,
    ) -> Result<CachedTokens, AuthError> {
        let region = config.user_pool_id.region();
        let mut request = self
            .client(region)
            .initiate_auth()
            .auth_flow(AuthFlowType::UserPasswordAuth)
            .client_id(&config.client_id)
            .auth_parameters("USERNAME", &config.username)
            .auth_parameters("PASSWORD", config.password.expose_secret());
        if let Some(hash) = secret_hash(config) {
            request = request.auth_parameters("SECRET_HASH", hash);
        }
        let answer = request.send().await.map_err(|error| explain(region, &error))?;
        tokens(answer, None, now)
    }

    /// Gets a new access token with a refresh token.
    #[tracing::instrument(name = "auth.cognito.refresh", skip_all, fields(aws.region = config.user_pool_id.region()))]
    pub(crate) async fn refresh(
        &self,
        config: &CognitoConfig,
        refresh: &SecretString,
        now: Timestamp,
    ) -> Result<CachedTokens, AuthError> {
        let region = config.user_pool_id.region();
        let mut request = self
            .client(region)
            .initiate_auth()
            .auth_flow(AuthFlowType::RefreshTokenAuth)
            .client_id(&config.client_id)
            .auth_parameters("REFRESH_TOKEN", refresh.expose_secret());
        if let Some(hash) = secret_hash(config) {
            request = request.auth_parameters("SECRET_HASH", hash);
        }
        match request.send().await {
            Ok(answer) => tokens(answer, Some(refresh.clone()), now),
            Err(error) => match explain(region, &error) {
                // An app client that rotates refresh tokens accepts them in another operation only.
                AuthError::Refused { .. } => self.rotate(config, refresh, now).await,
                error => Err(error),
            },
        }
    }

    /// Gets new tokens, a new refresh token among them, from an app client that rotates them.
    /// Source: <https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-refresh-token.html#using-the-refresh-token-rotation>
    async fn rotate(
        &self,
        config: &CognitoConfig,
        refresh: &SecretString,
        now: Timestamp,
    ) -> Result<CachedTokens, AuthError> {
        let region = config.user_pool_id.region();
        let secret = config.client_secret.as_ref().map(|secret| secret.expose_secret().to_owned());
        let answer = self
            .client(region)
            .get_tokens_from_refresh_token()
            .client_id(&config.client_id)
            .set_client_secret(secret)
            .refresh_token(refresh.expose_secret())
            .send()
            .await
            .map_err(|error| explain(region, &error))?;
        let given = answer.authentication_result.ok_or(AuthError::NoToken)?;
        tokens_of(given, Some(refresh.clone()), now)
    }

    fn client(&self, region: &str) -> Client {
        let config = aws_sdk_cognitoidentityprovider::config::Builder::from(&self.aws)
            .region(Region::new(region.to_owned()))
            .build();
        Client::from_conf(config)
    }
}

fn tokens(
    answer: InitiateAuthOutput,
    old_refresh: Option<SecretString>,
    now: Timestamp,
) -> Result<CachedTokens, AuthError> {
    let Some(result) = answer.authentication_result else {
        return Err(match answer.challenge_name {
            Some(name) => AuthError::Challenge { name: name.as_str().to_owned() },
            None => AuthError::NoToken,
        });
    };
    tokens_of(result, old_refresh, now)
}

fn tokens_of(
    result: AuthenticationResultType,
    old_refresh: Option<SecretString>,
    now: Timestamp,
) -> Result<CachedTokens, AuthError> {
    let access = result.access_token.ok_or(AuthError::NoToken)?;
    let life = SignedDuration::from_secs(result.expires_in.max(0).into());
    Ok(CachedTokens {
        access: access.into(),
        refresh: result.refresh_token.map(Into::into).or(old_refresh),
        stale_from: now + (life - LEEWAY.min(life / 10)),
        issued_here: true,
    })
}

/// Returns `Base64(HMAC-SHA256(client secret, username + client id))`; `None` for app clients without a secret.
///
/// Source: <https://docs.aws.amazon.com/cognito/latest/developerguide/signing-up-users-in-your-app.html#cognito-user-pools-computing-secret-hash>
fn secret_hash(config: &CognitoConfig) -> Option<String> {
    let secret = config.client_secret.as_ref()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).ok()?;
    mac.update(config.username.as_bytes());
    mac.update(config.client_id.as_bytes());
    Some(BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

fn explain<E: ProvideErrorMetadata, R>(region: &str, error: &SdkError<E, R>) -> AuthError {
    match error.as_service_error().map(|error| error.code().unwrap_or("an error without a code")) {
        Some(code) => AuthError::Refused { code: code.to_owned() },
        None => AuthError::Unreachable { region: region.to_owned() },
    }
}

#[cfg(test)]
mod tests {
    use aws_config::BehaviorVersion;
    use aws_smithy_http_client::test_util::{ReplayEvent, StaticReplayClient};
    use aws_smithy_types::body::SdkBody;

    use super::*;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn config(client_secret: Option<&str>) -> CognitoConfig {
        CognitoConfig {
            user_pool_id: "eu-west-3_Pool1".parse().unwrap(),
            client_id: "client".into(),
            client_secret: client_secret.map(Into::into),
            username: "user".into(),
            password: "canary-password".into(),
        }
    }

    /// A Cognito stand-in that gives one answer, and a process whose region is not the pool's.
    fn cognito(status: u16, body: &str) -> (Cognito, StaticReplayClient) {
        let event = ReplayEvent::new(
            http::Request::builder().body(SdkBody::empty()).unwrap(),
            http::Response::builder().status(status).body(SdkBody::from(body)).unwrap(),
        );
        let replay = StaticReplayClient::new(vec![event]);
        let aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .http_client(replay.clone())
            .build();
        (Cognito::new(aws), replay)
    }

    #[tokio::test]
    async fn the_password_is_sent_to_the_pools_region_with_a_secret_hash() {
        let (cognito, replay) = cognito(
            200,
            r#"{"AuthenticationResult":{"AccessToken":"a","RefreshToken":"r","ExpiresIn":3600}}"#,
        );
        let tokens = cognito.sign_in(&config(Some("secret")), NOW).await.unwrap();
        assert_eq!(tokens.stale_from, NOW + SignedDuration::from_secs(3540));
        let request = replay.actual_requests().next().unwrap();
        assert!(
            request.uri().starts_with("https://cognito-idp.eu-west-3.amazonaws.com"),
            "{}",
            request.uri()
        );
        let body = std::str::from_utf8(request.body().bytes().unwrap()).unwrap();
        // Computed with `openssl dgst -sha256 -hmac secret -binary | base64` over `userclient`.
        assert!(body.contains("wvW87lzZoI+qQCVGmWVBJLlucdJ65huAVP1z+0MgA6E="), "{body}");
    }

    async fn check(status: u16, body: &str, expected: AuthError) {
        let (cognito, _) = cognito(status, body);
        let error = cognito.sign_in(&config(None), NOW).await.unwrap_err();
        assert_eq!(error.to_string(), expected.to_string());
        assert!(!error.to_string().contains("canary"));
    }

    #[tokio::test]
    async fn refusals_and_challenges_have_their_codes() {
        let refused = |code: &str| AuthError::Refused { code: code.into() };
        check(
            400,
            r#"{"__type":"NotAuthorizedException","message":"Incorrect canary-password"}"#,
            refused("NotAuthorizedException"),
        )
        .await;
        check(400, r#"{"__type":"UserNotConfirmedException"}"#, refused("UserNotConfirmedException")).await;
        let challenge = AuthError::Challenge { name: "NEW_PASSWORD_REQUIRED".into() };
        check(200, r#"{"ChallengeName":"NEW_PASSWORD_REQUIRED","ChallengeParameters":{}}"#, challenge).await;
        check(200, "{}", AuthError::NoToken).await;
    }

    #[test]
    fn a_token_with_a_short_life_is_used_for_nine_tenths_of_it() {
        let answer = InitiateAuthOutput::builder()
            .authentication_result(
                AuthenticationResultType::builder().access_token("a").expires_in(300).build(),
            )
            .build();
        assert_eq!(tokens(answer, None, NOW).unwrap().stale_from, NOW + SignedDuration::from_secs(270));
    }
}
