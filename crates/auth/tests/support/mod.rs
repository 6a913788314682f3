//! What the integration tests of this crate share: one user, entries for the test's authorization server, processes.
//!
//! A process is a [`SignIn`]: it has caches of its own, and shares nothing with another but the store. Time is the
//! number of seconds since the test began, and moves only where a test passes another.

// Each test file is a program of its own and uses a part of this.
#![allow(dead_code)]

use std::{path::Path, sync::Arc, time::Duration};

use auth::{
    AuthConfig, AuthError, ClientIdentity, ClientProof, ClientRegistration, Credential, Ended, ExtraHeaders,
    GrantType, OAuth, OAuthConfig, OAuthError, Owner, Purpose, Redirect, Registration, ResourceIndicator,
    SignIn, SignInNeeded, Started, User,
};
use aws_config::{BehaviorVersion, SdkConfig};
use egress::{Deadlines, HttpClient};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use test_support::authorization_server::{AuthorizationServer, Settings};
use url::Url;
use vault::{FileVault, Vault};

/// Where the user's browser comes back to. No test sends anything there.
pub(crate) const REDIRECT_URI: &str = "http://127.0.0.1:9/callback";
/// A time after which an access token of one hour is stale.
pub(crate) const TWO_HOURS: i64 = 7_200;

/// The time, in seconds since the test began.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_800_000_000 + seconds)
}

/// The user of these tests, whose `sub` is known.
pub(crate) fn alice() -> User {
    User { name: "alice".to_owned(), sub: Some("sub-1".to_owned()) }
}

/// An authorization server with the usual settings.
pub(crate) async fn server() -> AuthorizationServer {
    AuthorizationServer::start(Settings::default()).await.unwrap()
}

/// A process that keeps its tokens in `store`.
pub(crate) fn process(store: Arc<dyn Vault>) -> SignIn {
    // Answers come at once or not at all: the limit is only what a test may hang.
    let deadlines = Deadlines { connect: Duration::from_secs(10), read: Duration::from_secs(10) };
    let http = HttpClient::new("true".parse().unwrap(), deadlines);
    let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    SignIn::new(aws, OAuth::new(http, store))
}

/// A process whose store is a file, which it shares with the others of the folder.
pub(crate) fn process_with_file(folder: &Path) -> SignIn {
    process(Arc::new(FileVault::new(folder.join("tokens.json"), at(0))))
}

/// An entry for the server: its URL, and the user whose tokens are used.
pub(crate) fn of_user(server: &AuthorizationServer) -> OAuthConfig {
    OAuthConfig {
        server_url: server.mcp_url().parse().unwrap(),
        grant: None,
        client: None,
        scopes: Vec::new(),
        audience: None,
        resource: ResourceIndicator::Discovered,
        issuer: None,
        authorization_url: None,
        token_url: None,
        extra_headers: ExtraHeaders::default(),
        owners: vec![Owner::User(alice()), Owner::Everybody],
    }
}

/// An entry whose client signs in for itself, as `client` with `secret`.
pub(crate) fn of_client(server: &AuthorizationServer, client: &str, secret: &str) -> OAuthConfig {
    let proof = ClientProof::Secret(secret.into());
    OAuthConfig {
        grant: Some(GrantType::ClientCredentials),
        client: Some(ClientRegistration { client_id: client.to_owned(), proof }),
        owners: vec![Owner::Everybody],
        ..of_user(server)
    }
}

/// This client, without a metadata document of its own.
pub(crate) fn identity() -> ClientIdentity {
    ClientIdentity { redirect_uri: REDIRECT_URI.to_owned(), metadata_url: None, serves_many: false }
}

/// Starts a sign-in of `user` for `user`.
pub(crate) async fn start(
    process: &SignIn,
    config: &OAuthConfig,
    user: &User,
    now: Timestamp,
) -> Result<Started, OAuthError> {
    let owner = Owner::User(user.clone());
    let purpose = Purpose { agent_id: "agent", starter: user, owner: &owner, origin: None };
    process.oauth().start(config, purpose, &identity(), Registration::Kept, now).await
}

/// What a redirect brings.
pub(crate) fn redirect(url: &Url) -> Redirect {
    Redirect::from_pairs(url.query_pairs().into_owned())
}

/// Takes the user that `config` is for through a whole sign-in.
pub(crate) async fn sign_in(
    process: &SignIn,
    server: &AuthorizationServer,
    config: &OAuthConfig,
    now: Timestamp,
) {
    let Some(Owner::User(user)) = config.owners.first().cloned() else { panic!("no user to sign in") };
    let started = start(process, config, &user, now).await.unwrap();
    let came_back = server.agree(&started.authorization_url).unwrap();
    process.oauth().callback(&redirect(&came_back), now).await.unwrap();
    let arrival = process.oauth().arrival(started.state.expose_secret(), &user, now).await.unwrap();
    process.oauth().complete(config, arrival, now).await.unwrap();
}

/// The access token that a process gives for an entry.
pub(crate) async fn token(
    process: &SignIn,
    config: &OAuthConfig,
    now: Timestamp,
) -> Result<String, AuthError> {
    let auth = AuthConfig::OAuth(Box::new(config.clone()));
    process.credential(&auth, now).await.map(|credential| bearer(&credential))
}

/// The token in a credential.
pub(crate) fn bearer(credential: &Credential) -> String {
    let (_, value) = credential.headers().next().unwrap();
    value.to_str().unwrap().strip_prefix("Bearer ").unwrap().to_owned()
}

/// Why the user must sign in again.
#[track_caller]
pub(crate) fn ended(outcome: Result<String, AuthError>) -> Ended {
    match outcome {
        Err(AuthError::NeedsSignIn(SignInNeeded::Ended(ended))) => ended,
        other => panic!("the grant has not ended: {other:?}"),
    }
}

/// The kind of the error that a sign-in ends with.
#[track_caller]
pub(crate) fn kind<T>(outcome: Result<T, impl Into<OAuthError>>) -> &'static str {
    match outcome {
        Ok(_) => panic!("there is no error"),
        Err(error) => error.into().kind(),
    }
}
