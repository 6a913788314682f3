//! The token endpoint: who we say we are, what we send, what comes back.
//!
//! Source: RFC 6749 §§2.3, 4.1.3, 4.4, 5 and 6; RFC 7523 for assertions; RFC 8707 for `resource`.

use base64::{Engine, prelude::BASE64_STANDARD};
use egress::HttpClient;
use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use percent_encoding::utf8_percent_encode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use url::{Url, form_urlencoded};

use super::{
    challenge::scopes,
    config::{ClientProof, ClientRegistration, PrivateKey},
    discovery::AuthorizationServer,
    error::{OAuthError, Place},
    shown::Shown,
    wire::{self, Answer},
};
use crate::credential::{UNRESERVED, scrub};

/// A token is taken as stale this long before it expires, so that it does not on its way; a tenth of its
/// life if that is shorter.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);
/// How long a token is used whose life is not told: until the server refuses it.
const UNTOLD_LIFE: SignedDuration = SignedDuration::from_hours(24 * 400);
/// How long an assertion is good for: it is used at once, and clocks differ.
const ASSERTION_LIFE: SignedDuration = SignedDuration::from_secs(60);
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What a token endpoint gave.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    pub(crate) access: SecretString,
    pub(crate) refresh: Option<SecretString>,
    /// From when on the access token is not to be used any more.
    pub(crate) stale_from: Timestamp,
    /// What it is good for, where that is told.
    pub(crate) scopes: Option<Vec<String>>,
}

/// What may be exchanged for tokens.
pub(crate) enum Exchange<'a> {
    /// What a redirect brought, with what only its beginner knows.
    Code { code: &'a SecretString, verifier: &'a SecretString, redirect_uri: &'a str },
    /// What an earlier answer brought.
    Refresh(&'a SecretString),
    /// Nothing but who we are.
    ClientCredentials { scopes: &'a [String], audience: Option<&'a str> },
}

/// Who asks: a client, and how this server has it prove itself.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) registration: &'a ClientRegistration,
    /// What the registration itself was answered with; it goes before the server's metadata.
    pub(crate) auth_method: Option<&'a str>,
}

/// A request to an endpoint of an authorization server that wants to know who asks.
pub(crate) struct Prepared {
    authorization: Option<HeaderValue>,
    body: Vec<u8>,
    /// What an answer may repeat, and nobody may be shown.
    secrets: Vec<SecretString>,
}

/// Exchanges something for tokens. Sends it again only where the server says that it did nothing.
///
/// # Errors
/// [`OAuthError`]; whatever secret the server repeats is taken out of it.
pub(crate) async fn exchange(
    http: &HttpClient,
    server: &AuthorizationServer,
    client: Client<'_>,
    exchange: Exchange<'_>,
    now: Timestamp,
) -> Result<Tokens, OAuthError> {
    let mut form = exchange.form();
    if let Some(resource) = &server.resource {
        form.push(("resource", resource.clone().into()));
    }
    let prepared = prepare(server, client, form.clone(), now)?;
    let answer = send(http, server, &prepared, &exchange).await?;
    let outcome = read(&answer, &prepared.secrets, now);
    // Where no metadata says how a secret is sent, the other way is worth a try: nothing was used up.
    let is_unsure = server.token_endpoint_auth_methods.is_empty() && client.auth_method.is_none();
    match outcome {
        Err(OAuthError::Refused { error, .. }) if is_unsure && error.whole() == "invalid_client" => {
            let posted = Client { auth_method: Some("client_secret_post"), ..client };
            let prepared = prepare(server, posted, form, now)?;
            read(&send(http, server, &prepared, &exchange).await?, &prepared.secrets, now)
        }
        outcome => outcome,
    }
}

async fn send(
    http: &HttpClient,
    server: &AuthorizationServer,
    prepared: &Prepared,
    exchange: &Exchange<'_>,
) -> Result<Answer, OAuthError> {
    let mut tried = 0;
    loop {
        let answer = prepared.post(http, &server.token_endpoint, Place::Token).await?;
        tried += 1;
        if tried == wire::TRIES || !exchange.may_be_repeated(&answer) {
            return Ok(answer);
        }
        tokio::time::sleep(answer.pause(tried - 1)).await;
    }
}

impl Exchange<'_> {
    /// Whether the same may be sent again after such an answer. What is good for one use may be used up by
    /// a server that failed; 429 and 503 say that it was not looked at.
    fn may_be_repeated(&self, answer: &Answer) -> bool {
        let is_untouched = matches!(answer.status.as_u16(), 429 | 503);
        is_untouched || answer.is_busy() && matches!(self, Self::ClientCredentials { .. })
    }

    fn form(&self) -> Vec<(&'static str, SecretString)> {
        let plain = |text: &str| SecretString::from(text);
        match self {
            Self::Code { code, verifier, redirect_uri } => vec![
                ("grant_type", plain("authorization_code")),
                ("code", (*code).clone()),
                ("code_verifier", (*verifier).clone()),
                ("redirect_uri", plain(redirect_uri)),
            ],
            Self::Refresh(token) => {
                vec![("grant_type", plain("refresh_token")), ("refresh_token", (*token).clone())]
            }
            Self::ClientCredentials { scopes, audience } => {
                let mut form = vec![("grant_type", plain("client_credentials"))];
                form.extend((!scopes.is_empty()).then(|| ("scope", plain(&scopes.join(" ")))));
                form.extend(audience.map(|audience| ("audience", plain(audience))));
                form
            }
        }
    }
}

impl Prepared {
    /// What a server says when it refuses, without what it was sent.
    pub(crate) fn refusal(&self, answer: &Answer, place: Place) -> OAuthError {
        refusal(answer, place, &self.secrets)
    }

    /// Sends it, once.
    pub(crate) async fn post(&self, http: &HttpClient, to: &Url, place: Place) -> Result<Answer, OAuthError> {
        const FORM: &str = "application/x-www-form-urlencoded";
        wire::post(http, to, place, FORM, self.authorization.clone(), self.body.clone()).await
    }
}

/// Puts into a request who we are.
pub(crate) fn prepare(
    server: &AuthorizationServer,
    client: Client<'_>,
    mut form: Vec<(&'static str, SecretString)>,
    now: Timestamp,
) -> Result<Prepared, OAuthError> {
    const SECRET: [&str; 5] = ["code", "code_verifier", "refresh_token", "token", "client_assertion"];
    let id = client.registration.client_id.as_str();
    let mut authorization = None;
    let mut secrets = Vec::new();
    match &client.registration.proof {
        ClientProof::Public => form.push(("client_id", id.into())),
        ClientProof::Secret(secret) if uses_post(server, client.auth_method) => {
            form.extend([("client_id", id.into()), ("client_secret", secret.clone())]);
            secrets.push(secret.clone());
        }
        ClientProof::Secret(secret) => {
            let pair = BASE64_STANDARD.encode(format!("{}:{}", escaped(id), escaped(secret.expose_secret())));
            authorization = HeaderValue::from_str(&format!("Basic {pair}")).ok();
            secrets.extend([secret.clone(), pair.into()]);
        }
        ClientProof::PrivateKey(key) => {
            form.extend([
                ("client_id", id.into()),
                ("client_assertion_type", ASSERTION_TYPE.into()),
                ("client_assertion", assertion(key, id, audience(server), now)?),
            ]);
        }
    }
    secrets.extend(form.iter().filter(|(name, _)| SECRET.contains(name)).map(|(_, value)| value.clone()));
    let mut body = form_urlencoded::Serializer::new(String::new());
    body.extend_pairs(form.iter().map(|(name, value)| (name, value.expose_secret())));
    Ok(Prepared { authorization, body: body.finish().into_bytes(), secrets })
}

/// RFC 6749 §2.3.1 wants ids and secrets escaped; what needs no escaping goes as every server knows it.
fn escaped(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

fn uses_post(server: &AuthorizationServer, auth_method: Option<&str>) -> bool {
    match auth_method {
        Some(method) => method == "client_secret_post",
        None => {
            let takes = |method: &str| server.token_endpoint_auth_methods.iter().any(|one| one == method);
            !takes("client_secret_basic") && takes("client_secret_post")
        }
    }
}

/// Whom an assertion is for: the issuer, since for the token endpoint alone another server could have it made
/// out to itself; where no issuer is told, the endpoint that the entry names.
fn audience(server: &AuthorizationServer) -> &str {
    if server.issuer_is_told { &server.issuer } else { server.token_endpoint.as_str() }
}

/// A statement, signed with the client's key, that it is this client (RFC 7523 §3).
fn assertion(
    key: &PrivateKey,
    client_id: &str,
    audience: &str,
    now: Timestamp,
) -> Result<SecretString, OAuthError> {
    let failed = |reason| OAuthError::PrivateKey { reason };
    let pem = key.pem.expose_secret().as_bytes();
    let by_kind = |algorithm: Algorithm| match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(pem),
        _ => EncodingKey::from_rsa_pem(pem),
    };
    let usual = [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA];
    let named = key.algorithm.as_deref().map(|name| name.parse::<Algorithm>());
    let algorithms = match named {
        None => usual.to_vec(),
        Some(Ok(Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)) | Some(Err(_)) => {
            return Err(failed("its algorithm is not one for keys of this kind"));
        }
        Some(Ok(algorithm)) => vec![algorithm],
    };
    let claims = json!({
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "iat": now.as_second(),
        "exp": (now + ASSERTION_LIFE).as_second(),
        "jti": super::random_token()?.expose_secret(),
    });
    for algorithm in algorithms {
        let Ok(signing_key) = by_kind(algorithm) else { continue };
        let mut header = Header::new(algorithm);
        header.kid = key.key_id.clone();
        if let Ok(signed) = jsonwebtoken::encode(&header, &claims, &signing_key) {
            return Ok(signed.into());
        }
    }
    Err(failed("it is no PEM of an EC, RSA or Ed25519 key, or its algorithm is one for another kind"))
}

fn read(answer: &Answer, secrets: &[SecretString], now: Timestamp) -> Result<Tokens, OAuthError> {
    if !answer.status.is_success() {
        return Err(refusal(answer, Place::Token, secrets));
    }
    #[derive(Deserialize)]
    struct Given {
        access_token: Option<SecretString>,
        token_type: Option<String>,
        expires_in: Option<serde_json::Value>,
        refresh_token: Option<SecretString>,
        scope: Option<String>,
        error: Option<String>,
    }
    let given: Given = answer.json(Place::Token)?;
    if given.error.is_some() {
        // Some refuse with the status of a success.
        return Err(refusal(answer, Place::Token, secrets));
    }
    if let Some(found) = given.token_type.filter(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err(OAuthError::TokenType { found: Shown::new(&found) });
    }
    let missing = OAuthError::Incomplete { place: Place::Token, field: "access_token" };
    let access = given.access_token.filter(is_sendable).ok_or(missing)?;
    // Some write the number as a text.
    let seconds = given.expires_in.and_then(|life| life.as_i64().or_else(|| life.as_str()?.parse().ok()));
    let life =
        seconds.map_or(UNTOLD_LIFE, |seconds| SignedDuration::from_secs(seconds.clamp(0, 100_000_000)));
    Ok(Tokens {
        access,
        refresh: given.refresh_token.filter(|token| !token.expose_secret().is_empty()),
        stale_from: now + (life - LEEWAY.min(life / 10)),
        scopes: given.scope.map(|text| scopes(&text)),
    })
}

fn is_sendable(token: &SecretString) -> bool {
    let token = token.expose_secret();
    !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic())
}

/// What a server says when it refuses (RFC 6749 §5.2), without what it was sent.
pub(crate) fn refusal(answer: &Answer, place: Place, secrets: &[SecretString]) -> OAuthError {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        error_description: Option<String>,
    }
    let clean = |text: &str| Shown::new(&secrets.iter().fold(text.to_owned(), scrub));
    // A proxy's words are not the authorization server's.
    let is_proxys = matches!(answer.status.as_u16(), 502 | 504);
    match serde_json::from_slice::<Refusal>(&answer.body) {
        Ok(refusal) if !is_proxys => OAuthError::Refused {
            place,
            error: clean(&refusal.error),
            description: refusal.error_description.as_deref().map(clean),
        },
        _ => OAuthError::Status { place, status: answer.status.as_u16() },
    }
}
