//! Which client we are at an authorization server.
//!
//! In the order of the specification: the client registered beforehand; our client ID metadata document,
//! where the server takes one; dynamic registration (RFC 7591).
//!
//! Source: <https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization#client-registration-approaches>

use egress::HttpClient;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;

use super::{
    config::{ClientProof, ClientRegistration, OAuthConfig},
    discovery::AuthorizationServer,
    error::{About, ClientKind, OAuthError, Place},
    grant::StoredClient,
    shown::Shown,
    token,
    verdict::{Verdict, verdict},
    wire::{self, Answer},
};

/// What people read on a page that asks for their consent.
const CLIENT_NAME: &str = "mcp-agents";

/// Where this client's users come back to, and where its own metadata is published, if it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// Where a browser comes back to, exactly.
    pub redirect_uri: String,
    /// The `https` URL of the client's metadata document: its client id where that is taken.
    pub metadata_url: Option<String>,
}

/// A client that was registered dynamically, and until when it is one.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) client: StoredClient,
    pub(crate) expires: Option<Timestamp>,
}

/// What an attempt to register came to.
enum Attempt {
    Registered(Registered),
    /// The server does not like something in the request, which another attempt may leave out.
    Disliked(OAuthError),
    /// The server registers no clients that ask for it, whatever its metadata announces.
    Closed(Option<Shown>),
}

/// Which client to be, without asking anybody; `None` if one is to be registered.
pub(crate) fn known_client(
    config: &OAuthConfig,
    server: &AuthorizationServer,
    identity: &ClientIdentity,
) -> Option<ClientRegistration> {
    let document = || {
        let url = identity.metadata_url.clone().filter(|_| server.takes_client_metadata_documents)?;
        Some(ClientRegistration { client_id: url, proof: ClientProof::Public })
    };
    config.client.clone().or_else(document)
}

/// Registers a client. Where the server refuses what is asked for, asks for less: without `offline_access`, then
/// without any scope, each with the grants that the server announces.
///
/// # Errors
/// [`OAuthError::ClientNeeded`] where no client may register itself; else as the server refuses.
#[tracing::instrument(name = "auth.oauth.register", skip_all)]
pub(crate) async fn register(
    http: &HttpClient,
    server: &AuthorizationServer,
    identity: &ClientIdentity,
) -> Result<Registered, OAuthError> {
    let needed = |said| OAuthError::ClientNeeded {
        issuer: Shown::new(&server.issuer),
        redirect_uri: identity.redirect_uri.clone(),
        said,
    };
    let Some(endpoint) = &server.registration_endpoint else { return Err(needed(None)) };
    let mut refused = None;
    for scopes in scopes_to_try(&server.scopes) {
        match attempt(http, endpoint, server, identity, &scopes).await? {
            Attempt::Registered(registered) => return Ok(registered),
            Attempt::Closed(said) => return Err(needed(said)),
            Attempt::Disliked(error) => drop(refused.get_or_insert(error)),
        }
    }
    Err(refused.unwrap_or_else(|| needed(None)))
}

/// The scopes to ask for, the wanted ones first.
fn scopes_to_try(wanted: &[String]) -> Vec<Vec<String>> {
    let without_offline: Vec<String> =
        wanted.iter().filter(|scope| *scope != "offline_access").cloned().collect();
    let mut all = vec![wanted.to_vec(), without_offline, Vec::new()];
    all.dedup();
    all
}

async fn attempt(
    http: &HttpClient,
    endpoint: &Url,
    server: &AuthorizationServer,
    identity: &ClientIdentity,
    scopes: &[String],
) -> Result<Attempt, OAuthError> {
    let mut metadata = client_metadata(identity);
    metadata["token_endpoint_auth_method"] = preferred_method(server).into();
    metadata["grant_types"] = grants(server);
    if !scopes.is_empty() {
        metadata["scope"] = scopes.join(" ").into();
    }
    let body = metadata.to_string().into_bytes();
    let answer = wire::post(http, endpoint, Place::Registration, "application/json", None, body).await?;
    if answer.status.is_success() {
        return read(&answer, server, identity).map(Attempt::Registered);
    }
    let about = About { client: Some(ClientKind::Registered), ..About::default() };
    let error = token::refusal(&answer, Place::Registration, &[]).about(about);
    Ok(match verdict(&error) {
        Verdict::ClientNeeded => Attempt::Closed(error.said()),
        Verdict::RetryLater => return Err(error),
        _ => Attempt::Disliked(error),
    })
}

fn read(
    answer: &Answer,
    server: &AuthorizationServer,
    identity: &ClientIdentity,
) -> Result<Registered, OAuthError> {
    #[derive(Deserialize)]
    struct Given {
        client_id: String,
        client_secret: Option<SecretString>,
        token_endpoint_auth_method: Option<String>,
        client_secret_expires_at: Option<Value>,
    }
    let given: Given = answer.json(Place::Registration)?;
    let auth_method = given.token_endpoint_auth_method.filter(|method| !method.is_empty());
    let expires =
        given.client_secret_expires_at.and_then(|at| at.as_i64().or_else(|| at.as_str()?.parse().ok()));
    Ok(Registered {
        client: StoredClient {
            id: given.client_id,
            // A server that issues a secret expects it to be sent.
            secret: given.client_secret.filter(|secret| !secret.expose_secret().is_empty()),
            auth_method: auth_method.or_else(|| Some(preferred_method(server).to_owned())),
            redirect_uri: Some(identity.redirect_uri.clone()),
            replaced_at: None,
        },
        expires: expires.filter(|at| *at > 0).and_then(|at| Timestamp::from_second(at).ok()),
    })
}

/// The grants to register for: both, or those of them that the server announces. A code alone is better than no
/// client: the sign-in then lasts as long as its access token.
fn grants(server: &AuthorizationServer) -> Value {
    let announced = |grant: &&str| {
        server.grant_types.as_ref().is_none_or(|announced| announced.iter().any(|one| one == grant))
    };
    let grants: Vec<&str> = ["authorization_code", "refresh_token"].into_iter().filter(announced).collect();
    if grants.is_empty() { json!(["authorization_code"]) } else { json!(grants) }
}

/// What this client says of itself, when registering and in its metadata document.
pub fn client_metadata(identity: &ClientIdentity) -> Value {
    let is_native = identity.redirect_uri.starts_with("http://");
    json!({
        "client_name": CLIENT_NAME,
        "redirect_uris": [identity.redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "none",
        "application_type": if is_native { "native" } else { "web" },
    })
}

fn preferred_method(server: &AuthorizationServer) -> &'static str {
    let takes = |method: &str| server.token_endpoint_auth_methods.iter().any(|one| one == method);
    // A secret that is not needed is one more to lose; one in the form is understood by more servers.
    ["none", "client_secret_post", "client_secret_basic"]
        .into_iter()
        .find(|method| takes(method))
        .unwrap_or("client_secret_basic")
}
