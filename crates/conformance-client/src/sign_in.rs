//! The sign-in of the simulated user: the browser's part, and the entry that says how to sign in.
//!
//! The OAuth flow itself is `auth`'s. Called by `main`.

use anyhow::{Context, anyhow};
use auth::{
    AuthConfig, ClientIdentity, ClientProof, ClientRegistration, ExtraHeaders, GrantType, OAuthConfig, Owner,
    PrivateKey, Purpose, Redirect, Registration, ResourceIndicator, User,
};
use mcp::{Connector, McpServer};
use serde_json::Value;
use url::Url;

/// The redirect URI. No program listens there: the redirect is read from the response and not followed.
const REDIRECT_URI: &str = "http://localhost:3000/callback";
/// The client ID metadata document that the suite expects as client id. The suite does not fetch it.
const CLIENT_METADATA: &str = "https://conformance-test.local/client-metadata.json";
const USER: &str = "conformance";

/// Returns the sign-in for the scenario's server, with the client that the scenario's context names.
pub(crate) fn config(url: &Url, scenario: &str, context: &Value) -> AuthConfig {
    let text = |name: &str| context[name].as_str().map(str::to_owned);
    let proof = match (text("client_secret"), text("private_key_pem")) {
        (Some(secret), _) => ClientProof::Secret(secret.into()),
        (None, Some(pem)) => ClientProof::PrivateKey(PrivateKey {
            pem: pem.into(),
            algorithm: text("signing_algorithm"),
            key_id: None,
        }),
        (None, None) => ClientProof::Public,
    };
    let is_client_credentials = scenario.starts_with("auth/client-credentials");
    AuthConfig::OAuth(Box::new(OAuthConfig {
        server_url: url.clone(),
        grant: Some(match is_client_credentials {
            true => GrantType::ClientCredentials,
            false => GrantType::AuthorizationCode,
        }),
        client: text("client_id").map(|client_id| ClientRegistration { client_id, proof }),
        scopes: Vec::new(),
        audience: None,
        resource: ResourceIndicator::Discovered,
        issuer: None,
        authorization_url: None,
        token_url: None,
        extra_headers: ExtraHeaders::default(),
        owners: vec![Owner::User(User::named(USER)), Owner::Everybody],
    }))
}

/// Signs the user in to a server, from start to completion.
pub(crate) async fn sign_in(connector: &Connector, server: &McpServer) -> anyhow::Result<()> {
    let AuthConfig::OAuth(config) = &server.auth else {
        return Err(anyhow!("the server asks for a sign-in in a scenario without one"));
    };
    let oauth = connector.sign_in().oauth();
    let owner = Owner::User(User::named(USER));
    let purpose =
        Purpose { agent_id: "conformance", starter: &User::named(USER), owner: &owner, origin: None };
    let identity = ClientIdentity {
        redirect_uri: REDIRECT_URI.to_owned(),
        metadata_url: Some(CLIENT_METADATA.to_owned()),
        serves_many: false,
    };
    let started = oauth.start(config, purpose, &identity, Registration::Kept, runtime::now()).await?;
    let page = http::Request::get(started.authorization_url.as_str()).body(Vec::new())?;
    let answer = connector.http().send(page).await?;
    let location =
        answer.headers().get(http::header::LOCATION).context("the authorization page does not redirect")?;
    let back = Url::parse(location.to_str()?)?;
    let redirect = Redirect::from_pairs(back.query_pairs().map(|(name, value)| (name, value.into_owned())));
    oauth.callback(&redirect, runtime::now()).await?;
    let state = redirect.state.context("the redirect has no state")?;
    let arrival = oauth.arrival(&state, &User::named(USER), runtime::now()).await?;
    oauth.complete(config, arrival, runtime::now()).await?;
    Ok(())
}
