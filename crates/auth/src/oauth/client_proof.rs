//! How a client proves who it is to an endpoint of an authorization server.
//!
//! `client_id` always stands in the form, at first beside Basic too: RFC 6749 §3.2.1 allows it, and the MCP Python
//! SDK's own endpoints ask for it, while Cloudflare's workers-oauth-provider takes it for a second method. Servers
//! differ on how a secret is to be sent, and their metadata is often silent or wrong. So where a server says that
//! it does not take the client, the other way is tried once. By then nothing is used up: a server
//! looks at the client before it looks at a code or a refresh token (RFC 6749 §§4.1.3, 6), and says so with an
//! error under which it has issued nothing. What worked is told, for its caller to keep.
//!
//! Source: RFC 6749 §2.3; RFC 7523 for assertions.

use base64::{Engine, prelude::BASE64_STANDARD};
use egress::HttpClient;
use http::{HeaderValue, StatusCode};
use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use percent_encoding::utf8_percent_encode;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use super::{
    about::{ClientKind, Place},
    authorization_server::AuthorizationServer,
    config::{ClientProof, ClientRegistration, PrivateKey},
    error::OAuthError,
    wire::{self, Answer},
};
use crate::credential::UNRESERVED;

/// How long an assertion is good for: it is used at once, and clocks differ.
const ASSERTION_LIFE: SignedDuration = SignedDuration::from_secs(60);
/// What is kept as the method of a client that is taken with Basic and nothing else.
const BASIC_ALONE: &str = "client_secret_basic without client_id";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client, and what is known of how this server has it prove itself.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) registration: &'a ClientRegistration,
    /// What its registration was answered with, or what worked before; goes before the server's metadata.
    pub(crate) auth_method: Option<&'a str>,
    pub(crate) kind: ClientKind,
}

/// A way to prove who one is (RFC 8414 §2, `token_endpoint_auth_methods_supported`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Not at all.
    None,
    /// The secret in the form.
    Post,
    /// The secret in the header `Authorization`, and `client_id` in the form too.
    Basic,
    /// The secret in the header `Authorization`, and nothing of the client in the form.
    BasicAlone,
    /// A signed assertion.
    PrivateKey,
}

/// A request of a client to an endpoint that wants to know who asks.
pub(crate) struct ClientRequest<'a> {
    pub(crate) http: &'a HttpClient,
    pub(crate) server: &'a AuthorizationServer,
    pub(crate) client: Client<'a>,
    pub(crate) to: &'a Url,
    pub(crate) place: Place,
    pub(crate) form: Vec<(&'static str, SecretString)>,
    /// Whether the same may be sent again after an answer.
    pub(crate) repeats: &'a (dyn Fn(&Answer) -> bool + Sync),
    pub(crate) now: Timestamp,
}

/// An answer to a [`ClientRequest`].
pub(crate) struct Answered {
    pub(crate) answer: Answer,
    /// What the answer may repeat, and nobody may be shown.
    pub(crate) secrets: Vec<SecretString>,
    pub(crate) method: Method,
}

impl Method {
    /// The method's name, of those between which there is a choice.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Self::None => Some("none"),
            Self::Post => Some("client_secret_post"),
            Self::Basic => Some("client_secret_basic"),
            Self::BasicAlone => Some(BASIC_ALONE),
            Self::PrivateKey => None,
        }
    }
}

impl ClientRequest<'_> {
    /// Sends the request; where the server does not take the client, once more in each other way.
    pub(crate) async fn send(&self) -> Result<Answered, OAuthError> {
        let (first, others) = methods(self.server, self.client);
        let answered = self.send_first(first).await?;
        if !does_not_take_client(&answered.answer) {
            return Ok(answered);
        }
        for other in others {
            let tried = self.send_first(*other).await?;
            if !does_not_take_client(&tried.answer) {
                return Ok(tried);
            }
        }
        // The first refusal says more than that of a way which was only tried.
        Ok(answered)
    }

    /// Sends the request by one method; where that is Basic and the server takes `client_id` beside it for another
    /// method, once more without.
    async fn send_first(&self, method: Method) -> Result<Answered, OAuthError> {
        let answered = self.send_by(method).await?;
        match method == Method::Basic && sees_two_methods(&answered.answer) {
            true => self.send_by(Method::BasicAlone).await,
            false => Ok(answered),
        }
    }

    async fn send_by(&self, method: Method) -> Result<Answered, OAuthError> {
        let mut tried = 0;
        loop {
            let Prepared { authorization, body, secrets } = self.prepare(method)?;
            const FORM: &str = "application/x-www-form-urlencoded";
            let answer = wire::post(self.http, self.to, self.place, FORM, authorization, body).await?;
            tried += 1;
            if tried == wire::TRIES || !(self.repeats)(&answer) {
                return Ok(Answered { answer, secrets, method });
            }
            tokio::time::sleep(answer.pause(tried - 1)).await;
        }
    }

    fn prepare(&self, method: Method) -> Result<Prepared, OAuthError> {
        const SECRET: [&str; 5] = ["code", "code_verifier", "refresh_token", "token", "client_assertion"];
        let id = self.client.registration.client_id.as_str();
        let mut form = self.form.clone();
        if method != Method::BasicAlone {
            form.push(("client_id", id.into()));
        }
        let mut authorization = None;
        let mut secrets = Vec::new();
        match (&self.client.registration.proof, method) {
            (ClientProof::Secret(secret), Method::Basic | Method::BasicAlone) => {
                let pair =
                    BASE64_STANDARD.encode(format!("{}:{}", escaped(id), escaped(secret.expose_secret())));
                authorization = HeaderValue::from_str(&format!("Basic {pair}")).ok();
                secrets.extend([secret.clone(), pair.into()]);
            }
            (ClientProof::Secret(secret), Method::Post) => {
                form.push(("client_secret", secret.clone()));
                secrets.push(secret.clone());
            }
            (ClientProof::PrivateKey(key), _) => form.extend([
                ("client_assertion_type", ASSERTION_TYPE.into()),
                ("client_assertion", assertion(key, id, audience(self.server), self.now)?),
            ]),
            (ClientProof::Public | ClientProof::Secret(_), _) => {}
        }
        secrets.extend(form.iter().filter(|(name, _)| SECRET.contains(name)).map(|(_, value)| value.clone()));
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form.iter().map(|(name, value)| (name, value.expose_secret())));
        Ok(Prepared { authorization, body: body.finish().into_bytes(), secrets })
    }
}

/// A request with the client's proof in it.
struct Prepared {
    authorization: Option<HeaderValue>,
    body: Vec<u8>,
    secrets: Vec<SecretString>,
}

/// The likeliest way to prove who the client is, and those to try where the server does not take it.
fn methods(server: &AuthorizationServer, client: Client<'_>) -> (Method, &'static [Method]) {
    use Method::{Basic, BasicAlone, Post};
    match &client.registration.proof {
        ClientProof::Public => return (Method::None, &[]),
        ClientProof::PrivateKey(_) => return (Method::PrivateKey, &[]),
        ClientProof::Secret(_) => {}
    }
    let offers = |method: &str| server.token_endpoint_auth_methods.iter().any(|one| one == method);
    let (basic, post) = (offers("client_secret_basic"), offers("client_secret_post"));
    match client.auth_method {
        Some("client_secret_post") => (Post, &[Basic]),
        Some("client_secret_basic") => (Basic, &[Post]),
        Some(BASIC_ALONE) => (BasicAlone, &[Post]),
        // A server that issues a secret expects it to be sent, whatever method it echoes.
        Some("none") if basic && !post => (Basic, &[Post, Method::None]),
        Some("none") => (Post, &[Basic, Method::None]),
        _ if post && !basic => (Post, &[Basic]),
        _ => (Basic, &[Post]),
    }
}

/// Returns true if an answer says that the server does not take the client, so that it looked at nothing else. RFC
/// 6749 §5.2 has `invalid_client` for that; some servers answer a bare 401, or 401 with another code.
fn does_not_take_client(answer: &Answer) -> bool {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let says = |code: &str| body["error"] == code;
    match answer.status {
        StatusCode::UNAUTHORIZED => {
            says("invalid_client") || says("unauthorized_client") || !body["error"].is_string()
        }
        status => says("invalid_client") && !status.is_server_error(),
    }
}

/// Returns true if an answer refuses a request for proving the client in two ways at once (RFC 6749 §2.3 forbids
/// that, and workers-oauth-provider takes `client_id` for a way of its own).
fn sees_two_methods(answer: &Answer) -> bool {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let description = body["error_description"].as_str().unwrap_or_default().to_ascii_lowercase();
    answer.status.is_client_error()
        && (body["error"] == "invalid_request" || body["error"] == "invalid_client")
        && description.contains("multiple")
        && description.contains("method")
}

/// RFC 6749 §2.3.1 wants ids and secrets escaped; what needs no escaping goes as every server knows it.
fn escaped(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
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

#[cfg(test)]
mod tests {
    use super::*;

    fn server(methods: &[&str]) -> AuthorizationServer {
        let token_endpoint_auth_methods = methods.iter().map(|&method| method.into()).collect();
        AuthorizationServer { token_endpoint_auth_methods, ..AuthorizationServer::example() }
    }

    #[test]
    fn a_secret_is_sent_as_told_and_then_the_other_way() {
        use Method::{Basic, BasicAlone, None as Without, Post};
        let check = |offered: &[&str], known: Option<&str>, first: Method, others: &[Method]| {
            let registration =
                ClientRegistration { client_id: "c".into(), proof: ClientProof::Secret("s".into()) };
            let client =
                Client { registration: &registration, auth_method: known, kind: ClientKind::OfEntry };
            assert_eq!(methods(&server(offered), client), (first, others), "{offered:?} {known:?}");
        };
        let (basic, post) = ("client_secret_basic", "client_secret_post");
        check(&[], None, Basic, &[Post]);
        check(&[basic], None, Basic, &[Post]);
        check(&[post], None, Post, &[Basic]);
        check(&[basic, post], None, Basic, &[Post]);
        check(&[basic], Some(post), Post, &[Basic]);
        check(&[post], Some(basic), Basic, &[Post]);
        check(&[post], BasicAlone.name(), BasicAlone, &[Post]);
        check(&["none", post], Some("none"), Post, &[Basic, Without]);
        check(&["none", basic], Some("none"), Basic, &[Post, Without]);
        check(&["none"], Some("none"), Post, &[Basic, Without]);
    }

    #[test]
    fn a_client_that_is_not_taken_is_told_from_everything_else() {
        let check = |status: u16, body: &str, expected: bool| {
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                headers: http::HeaderMap::new(),
                body: body.as_bytes().to_vec(),
            };
            assert_eq!(does_not_take_client(&answer), expected, "{status} {body}");
        };
        check(401, r#"{"error":"invalid_client"}"#, true);
        check(400, r#"{"error":"invalid_client"}"#, true);
        check(200, r#"{"error":"invalid_client"}"#, true);
        check(401, r#"{"error":"unauthorized_client"}"#, true);
        check(401, "<html>", true);
        check(400, r#"{"error":"unauthorized_client"}"#, false);
        check(401, r#"{"error":"invalid_grant"}"#, false);
        check(400, r#"{"error":"invalid_grant"}"#, false);
        check(500, r#"{"error":"invalid_client"}"#, false);
        check(200, r#"{"access_token":"t"}"#, false);
    }
}
