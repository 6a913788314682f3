//! Which client we are at an authorization server.
//!
//! In the order of the specification: the client registered beforehand; our client ID metadata document,
//! where the server takes one; dynamic registration (RFC 7591).
//!
//! Source: <https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization#client-registration-approaches>

use egress::HttpClient;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    config::{ClientProof, ClientRegistration, OAuthConfig},
    discovery::AuthorizationServer,
    error::{OAuthError, Place},
    grant::StoredClient,
    shown::Shown,
    token, wire,
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

/// Registers a client.
///
/// # Errors
/// [`OAuthError::ClientNeeded`] where nobody may register; else as the server refuses.
#[tracing::instrument(name = "auth.oauth.register", skip_all)]
pub(crate) async fn register(
    http: &HttpClient,
    server: &AuthorizationServer,
    identity: &ClientIdentity,
) -> Result<Registered, OAuthError> {
    let Some(endpoint) = &server.registration_endpoint else {
        return Err(OAuthError::ClientNeeded {
            issuer: Shown::new(&server.issuer),
            redirect_uri: identity.redirect_uri.clone(),
        });
    };
    let mut metadata = client_metadata(identity);
    metadata["token_endpoint_auth_method"] = preferred_method(server).into();
    if !server.scopes.is_empty() {
        metadata["scope"] = server.scopes.join(" ").into();
    }
    let body = metadata.to_string().into_bytes();
    let answer = wire::post(http, endpoint, Place::Registration, "application/json", None, body).await?;
    if !answer.status.is_success() {
        return Err(token::refusal(&answer, Place::Registration, &[]));
    }
    #[derive(Deserialize)]
    struct Answer {
        client_id: String,
        client_secret: Option<SecretString>,
        token_endpoint_auth_method: Option<String>,
        client_secret_expires_at: Option<i64>,
    }
    let answer: Answer = answer.json(Place::Registration)?;
    let auth_method = answer.token_endpoint_auth_method;
    let is_public = auth_method.as_deref().unwrap_or_else(|| preferred_method(server)) == "none";
    let secret = answer.client_secret.filter(|_| !is_public);
    Ok(Registered {
        client: StoredClient { id: answer.client_id, secret, auth_method },
        expires: answer
            .client_secret_expires_at
            .filter(|at| *at > 0)
            .and_then(|at| Timestamp::from_second(at).ok()),
    })
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
    // A secret that is not needed is one more to lose.
    ["none", "client_secret_basic", "client_secret_post"]
        .into_iter()
        .find(|method| takes(method))
        .unwrap_or("client_secret_basic")
}
