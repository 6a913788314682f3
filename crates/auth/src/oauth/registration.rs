//! Which client we are at an authorization server.
//!
//! In the order of the specification: the client registered beforehand; our client ID metadata document,
//! where the server takes one; dynamic registration (RFC 7591).
//!
//! Source: <https://modelcontextprotocol.io/specification/2025-11-25/basic/authorization#client-registration-approaches>

use egress::{HttpClient, Shown};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    about::{About, ClientKind, Place},
    authorization_server::AuthorizationServer,
    config::{ClientProof, ClientRegistration, OAuthConfig},
    error::OAuthError,
    grant::StoredClient,
    token_refusal,
    verdict::{Verdict, may_be_asked_for_less, verdict},
    wire::{self, Answer},
};
use vault::{digest, hex};

/// What people read on a page that asks for their consent.
const CLIENT_NAME: &str = "mcp-agents";

/// Where this client's users come back to, and where its own metadata is published, if it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// Where a browser comes back to, exactly.
    pub redirect_uri: String,
    /// The `https` URL of the client's metadata document: its client id where that is taken.
    pub metadata_url: Option<String>,
    /// Whether sign-ins at several authorization servers come back at once, so that one may pass for another
    /// (RFC 9700 §4.4). A client that registers itself at a server that announces no `iss` then has a redirect URI of
    /// that server's own: `redirect_uri` and one more segment.
    pub serves_many: bool,
}

impl ClientIdentity {
    /// The identity for registering at `server`.
    pub(crate) fn at(&self, server: &AuthorizationServer) -> Self {
        if !self.serves_many || server.announces_iss {
            return self.clone();
        }
        let segment = hex(&digest(&[&server.issuer])[..8]);
        Self { redirect_uri: format!("{}/{segment}", self.redirect_uri), ..self.clone() }
    }
}

/// A client that was registered dynamically, and until when it is one.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    pub(crate) client: StoredClient,
    pub(crate) expires: Option<Timestamp>,
}

/// What a registration asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    grants: Vec<&'static str>,
    scopes: Vec<String>,
    method: &'static str,
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

/// Registers a client. Where the server refuses what is asked for, asks for less: without `offline_access`, without
/// any scope, and, where its metadata is silent on them, without refreshing and as a public client. `identity` is that
/// of a client that is registered by hand.
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
    let identity = &identity.at(server);
    let mut refused = None;
    for wish in wishes(server) {
        let body = wish.metadata(identity).to_string().into_bytes();
        let answer = wire::post(http, endpoint, Place::Registration, "application/json", None, body).await?;
        match read(&answer, &wish, identity) {
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
        Some(error) if verdict(&error) == Verdict::EntryWrong => error.of_sign_in(&identity.redirect_uri),
        refused => needed(refused.and_then(|error| error.said())),
    })
}

/// What to ask for, one after another: each asks for less than the one before.
fn wishes(server: &AuthorizationServer) -> Vec<Wish> {
    let full =
        Wish { grants: grants(server), scopes: server.scopes.clone(), method: preferred_method(server) };
    let scopes = full.scopes.iter().filter(|scope| *scope != "offline_access").cloned().collect();
    let without_offline_access = Wish { scopes, ..full.clone() };
    let without_scopes = Wish { scopes: Vec::new(), ..full.clone() };
    let mut last = without_scopes.clone();
    let mut wishes = vec![full, without_offline_access, without_scopes];
    // What is announced is not doubted: then something else is in the way.
    if server.grant_types.is_none() {
        last.grants = vec!["authorization_code"];
        wishes.push(last.clone());
    }
    // Metadata that is silent on methods reads as if it announced this one.
    if server.token_endpoint_auth_methods.iter().all(|method| method == "client_secret_basic") {
        wishes.push(Wish { method: "none", ..last });
    }
    wishes.dedup();
    wishes
}

impl Wish {
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

fn read(answer: &Answer, wish: &Wish, identity: &ClientIdentity) -> Result<Registered, OAuthError> {
    #[derive(Deserialize)]
    struct Given {
        client_id: String,
        client_secret: Option<SecretString>,
        token_endpoint_auth_method: Option<String>,
        client_secret_expires_at: Option<Value>,
    }
    // Some refuse with the status of a success.
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let given = match answer.status.is_success() && !body["error"].is_string() {
        true => answer.json::<Given>(Place::Registration),
        false => Err(token_refusal::refusal(answer, Place::Registration, &[])),
    };
    let about = About { client: Some(ClientKind::Registered), ..About::default() };
    let given = given.map_err(|error| token_refusal::page_as_status(error, answer).about(about))?;
    let auth_method = given.token_endpoint_auth_method.filter(|method| !method.is_empty());
    let expires =
        given.client_secret_expires_at.and_then(|at| at.as_i64().or_else(|| at.as_str()?.parse().ok()));
    Ok(Registered {
        client: StoredClient {
            id: given.client_id,
            // A server that issues a secret expects it to be sent.
            secret: given.client_secret.filter(|secret| !secret.expose_secret().is_empty()),
            auth_method: auth_method.or_else(|| Some(wish.method.to_owned())),
            redirect_uri: Some(identity.redirect_uri.clone()),
            replaced_at: None,
        },
        expires: expires.filter(|at| *at > 0).and_then(|at| Timestamp::from_second(at).ok()),
    })
}

/// The grants to register for: both, or those of them that the server announces. A code alone is better than no
/// client: the sign-in then lasts as long as its access token.
fn grants(server: &AuthorizationServer) -> Vec<&'static str> {
    let announces =
        |grant: &str| server.grant_types.as_ref().is_none_or(|all| all.iter().any(|one| one == grant));
    let mut grants = vec!["authorization_code"];
    grants.extend(announces("refresh_token").then_some("refresh_token"));
    grants
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
