//! Chooses the client for an authorization server, and registers one.
//!
//! The order is the specification's: a pre-registered client; this backend's client ID metadata document, if the server
//! accepts such documents; dynamic client registration (RFC 7591). Stores nothing ([`super::registered_client`] does).
//!
//! Source: <https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization#client-registration-approaches>

use egress::{HttpClient, Shown};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    authorization_server::AuthorizationServer,
    config::{ClientAuthentication, ClientRegistration, OAuthConfig},
    error::OAuthError,
    error_response,
    grant::StoredClient,
    request_context::{ClientKind, Endpoint, RequestContext},
    verdict::{Verdict, may_be_asked_for_less, verdict},
    wire::{self, Answer},
};
use vault::{digest, hex};

/// `client_name`, which the consent page shows to the user.
const CLIENT_NAME: &str = "mcp-agents";

/// This backend as an OAuth client: its redirect URI, and the URL of its metadata document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The redirect URI.
    pub redirect_uri: String,
    /// The `https` URL of the client ID metadata document, if there is one. It is the client id where the authorization
    /// server accepts such documents.
    pub metadata_url: Option<String>,
    /// True if a client that registers itself needs a redirect URI per authorization server: `redirect_uri` and one more
    /// segment. Used at servers that announce no `iss`, where redirects of several servers arrive at one place: else one
    /// server's redirect could pass for another's (RFC 9700 §4.4).
    pub redirect_uri_per_issuer: bool,
}

impl ClientIdentity {
    /// Returns the identity for registering at `server`.
    pub(crate) fn at(&self, server: &AuthorizationServer) -> Self {
        if !self.redirect_uri_per_issuer || server.announces_iss {
            return self.clone();
        }
        let segment = hex(&digest(&[&server.issuer])[..8]);
        Self { redirect_uri: format!("{}/{segment}", self.redirect_uri), ..self.clone() }
    }
}

/// A client that has just been registered, and the expiry of its secret.
#[derive(Debug, Clone)]
pub(crate) struct NewRegistration {
    pub(crate) client: StoredClient,
    pub(crate) expires: Option<Timestamp>,
}

/// What one registration request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RegistrationRequest {
    grants: Vec<&'static str>,
    scopes: Vec<String>,
    method: &'static str,
}

/// Returns the client that needs no registration; `None` if one must be registered.
pub(crate) fn known_client(
    config: &OAuthConfig,
    server: &AuthorizationServer,
    identity: &ClientIdentity,
) -> Option<ClientRegistration> {
    let document = || {
        let url = identity.metadata_url.clone().filter(|_| server.takes_client_metadata_documents)?;
        Some(ClientRegistration { client_id: url, authentication: ClientAuthentication::Public })
    };
    config.client.clone().or_else(document)
}

/// Registers a client. If the server refuses a request, the next one asks for less: no `offline_access`, then no scope,
/// then, if the metadata does not name them, no refresh tokens and no client authentication. `identity` is that of a
/// client registered by an administrator.
///
/// # Errors
/// [`OAuthError::ClientNeeded`] if no client can register itself; the refusal if the entry must be changed.
#[tracing::instrument(name = "auth.oauth.register", skip_all)]
pub(crate) async fn register(
    http: &HttpClient,
    server: &AuthorizationServer,
    identity: &ClientIdentity,
) -> Result<NewRegistration, OAuthError> {
    let needed = |server_message| OAuthError::ClientNeeded {
        issuer: Shown::new(&server.issuer),
        redirect_uri: identity.redirect_uri.clone(),
        server_message,
    };
    let Some(endpoint) = &server.registration_endpoint else { return Err(needed(None)) };
    let identity = &identity.at(server);
    let mut refused = None;
    for request in registration_requests(server) {
        let body = request.metadata(identity).to_string().into_bytes();
        let answer =
            wire::post(http, endpoint, Endpoint::Registration, "application/json", None, body).await?;
        match read(&answer, &request, identity) {
            Err(error) if verdict(&error) == Verdict::RetryLater => return Err(error),
            Err(error) => {
                let is_final = !may_be_asked_for_less(&error);
                refused = Some(error);
                if is_final {
                    break;
                }
            }
            registered => return registered,
        }
    }
    Err(match refused {
        Some(error) if verdict(&error) == Verdict::EntryWrong => {
            error.with_redirect_uri(&identity.redirect_uri)
        }
        refused => needed(refused.and_then(|error| error.server_message())),
    })
}

/// Returns the requests to send, in this order: each asks for less than the one before.
fn registration_requests(server: &AuthorizationServer) -> Vec<RegistrationRequest> {
    let full = RegistrationRequest {
        grants: grants(server),
        scopes: server.scopes.clone(),
        method: preferred_method(server),
    };
    let scopes = full.scopes.iter().filter(|scope| *scope != "offline_access").cloned().collect();
    let without_offline_access = RegistrationRequest { scopes, ..full.clone() };
    let without_scopes = RegistrationRequest { scopes: Vec::new(), ..full.clone() };
    let mut last = without_scopes.clone();
    let mut registration_requests = vec![full, without_offline_access, without_scopes];
    // Only where the metadata names no grant types: announced ones are not the cause of the refusal.
    if server.grant_types.is_none() {
        last.grants = vec!["authorization_code"];
        registration_requests.push(last.clone());
    }
    // Metadata without methods reads as if it announced this one (RFC 8414 §2).
    if server.token_endpoint_auth_methods.iter().all(|method| method == "client_secret_basic") {
        registration_requests.push(RegistrationRequest { method: "none", ..last });
    }
    registration_requests.dedup();
    registration_requests
}

impl RegistrationRequest {
    fn metadata(&self, identity: &ClientIdentity) -> Value {
        let mut metadata = client_metadata(identity);
        metadata["token_endpoint_auth_method"] = self.method.into();
        metadata["grant_types"] = self.grants.clone().into();
        if !self.scopes.is_empty() {
            metadata["scope"] = self.scopes.join(" ").into();
        }
        metadata
    }
}

fn read(
    answer: &Answer,
    request: &RegistrationRequest,
    identity: &ClientIdentity,
) -> Result<NewRegistration, OAuthError> {
    #[derive(Deserialize)]
    struct RegistrationResponse {
        client_id: String,
        client_secret: Option<SecretString>,
        token_endpoint_auth_method: Option<String>,
        client_secret_expires_at: Option<Value>,
    }
    // Some servers refuse with a 2xx status.
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let given = match answer.status.is_success() && !body["error"].is_string() {
        true => answer.json::<RegistrationResponse>(Endpoint::Registration),
        false => Err(error_response::refusal(answer, Endpoint::Registration, &[])),
    };
    let context = RequestContext { client: Some(ClientKind::Registered), ..RequestContext::default() };
    let given = given.map_err(|error| error_response::page_as_status(error, answer).in_context(context))?;
    let auth_method = given.token_endpoint_auth_method.filter(|method| !method.is_empty());
    let expires =
        given.client_secret_expires_at.and_then(|at| at.as_i64().or_else(|| at.as_str()?.parse().ok()));
    Ok(NewRegistration {
        client: StoredClient {
            id: given.client_id,
            // A server that issues a secret expects it to be sent.
            secret: given.client_secret.filter(|secret| !secret.expose_secret().is_empty()),
            auth_method: auth_method.or_else(|| Some(request.method.to_owned())),
            redirect_uri: Some(identity.redirect_uri.clone()),
            replaced_at: None,
        },
        expires: expires.filter(|at| *at > 0).and_then(|at| Timestamp::from_second(at).ok()),
    })
}

/// Returns the grant types to register for: authorization code, and refresh token unless the metadata leaves it out. A
/// client without refresh tokens is better than none: its sign-ins last as long as their access tokens.
fn grants(server: &AuthorizationServer) -> Vec<&'static str> {
    let announces =
        |grant: &str| server.grant_types.as_ref().is_none_or(|all| all.iter().any(|one| one == grant));
    let mut grants = vec!["authorization_code"];
    grants.extend(announces("refresh_token").then_some("refresh_token"));
    grants
}

/// Returns this client's metadata, for registration and for the client ID metadata document.
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
    // No secret is best, since it could leak; more servers understand one in the form than one in the header.
    ["none", "client_secret_post", "client_secret_basic"]
        .into_iter()
        .find(|method| takes(method))
        .unwrap_or("client_secret_basic")
}
