//! Client authentication at the token and revocation endpoints of an authorization server.
//!
//! The form always has `client_id`, at first beside HTTP Basic too: RFC 6749 §3.2.1 allows it, and the MCP Python SDK's
//! endpoints require it, while Cloudflare's workers-oauth-provider takes it for a second method. Servers differ on how a
//! secret must be sent, and their metadata is often silent or wrong. So if a server refuses the client, the other method
//! is tried once. This uses up no code and no refresh token: a server checks the client first (RFC 6749 §§4.1.3, 6), and
//! issues nothing with that error. The method that succeeded is returned, and the caller stores it.
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
    authorization_server::AuthorizationServer,
    config::{ClientAuthentication, ClientRegistration, PrivateKey},
    error::OAuthError,
    request_context::{ClientKind, Endpoint},
    wire::{self, Answer},
};
use crate::credential::UNRESERVED;

/// Life of a client assertion, in seconds: it is used at once, and the clocks of two machines differ.
const ASSERTION_LIFE: SignedDuration = SignedDuration::from_secs(60);
/// The stored name of [`AuthMethod::BasicAlone`].
const BASIC_ALONE: &str = "client_secret_basic without client_id";
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client, with the method of authentication that its server is known to accept.
#[derive(Clone, Copy)]
pub(crate) struct Client<'a> {
    pub(crate) registration: &'a ClientRegistration,
    /// The method of its registration response, or the one that succeeded before. Takes precedence over the server's
    /// metadata.
    pub(crate) auth_method: Option<&'a str>,
    pub(crate) kind: ClientKind,
}

/// A method of client authentication (RFC 8414 §2, `token_endpoint_auth_methods_supported`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AuthMethod {
    /// No authentication: a public client.
    None,
    /// The secret in the form.
    Post,
    /// The secret in the header `Authorization`, and `client_id` in the form too.
    Basic,
    /// The secret in the header `Authorization`, and no `client_id` in the form.
    BasicAlone,
    /// A signed assertion (RFC 7523).
    PrivateKey,
}

/// A request to an endpoint that authenticates clients.
pub(crate) struct ClientRequest<'a> {
    pub(crate) http: &'a HttpClient,
    pub(crate) server: &'a AuthorizationServer,
    pub(crate) client: Client<'a>,
    pub(crate) to: &'a Url,
    pub(crate) endpoint: Endpoint,
    pub(crate) form: Vec<(&'static str, SecretString)>,
    /// Returns true if the same request may be sent again after an answer.
    pub(crate) may_repeat: &'a (dyn Fn(&Answer) -> bool + Sync),
    pub(crate) now: Timestamp,
}

/// The answer to a [`ClientRequest`].
pub(crate) struct ClientAnswer {
    pub(crate) answer: Answer,
    /// The secrets that were sent. The answer may repeat them, and they must be removed before it is shown.
    pub(crate) secrets: Vec<SecretString>,
    pub(crate) method: AuthMethod,
}

impl AuthMethod {
    /// Returns the method's name; `None` if the client has no other method.
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
    /// Sends the request; if the server refuses the client, once more with each other method.
    pub(crate) async fn send(&self) -> Result<ClientAnswer, OAuthError> {
        let (first, others) = methods(self.server, self.client);
        let answered = self.send_with(first).await?;
        if !refuses_client(&answered.answer) {
            return Ok(answered);
        }
        for other in others {
            let tried = self.send_with(*other).await?;
            if !refuses_client(&tried.answer) {
                return Ok(tried);
            }
        }
        // All methods were refused: the refusal of the likeliest one says most.
        Ok(answered)
    }

    /// Sends the request with one method. If that is Basic and the server takes `client_id` for another method, sends it
    /// once more without `client_id`.
    async fn send_with(&self, method: AuthMethod) -> Result<ClientAnswer, OAuthError> {
        let answered = self.send_with_retries(method).await?;
        match method == AuthMethod::Basic && sees_two_methods(&answered.answer) {
            true => self.send_with_retries(AuthMethod::BasicAlone).await,
            false => Ok(answered),
        }
    }

    async fn send_with_retries(&self, method: AuthMethod) -> Result<ClientAnswer, OAuthError> {
        let mut attempts = 0;
        loop {
            let PreparedRequest { authorization, body, secrets } = self.prepare(method)?;
            const FORM: &str = "application/x-www-form-urlencoded";
            let answer = wire::post(self.http, self.to, self.endpoint, FORM, authorization, body).await?;
            attempts += 1;
            if attempts == wire::MAX_ATTEMPTS || !(self.may_repeat)(&answer) {
                return Ok(ClientAnswer { answer, secrets, method });
            }
            tokio::time::sleep(answer.pause(attempts - 1)).await;
        }
    }

    fn prepare(&self, method: AuthMethod) -> Result<PreparedRequest, OAuthError> {
        const SECRET: [&str; 5] = ["code", "code_verifier", "refresh_token", "token", "client_assertion"];
        let id = self.client.registration.client_id.as_str();
        let mut form = self.form.clone();
        if method != AuthMethod::BasicAlone {
            form.push(("client_id", id.into()));
        }
        let mut authorization = None;
        let mut secrets = Vec::new();
        match (&self.client.registration.authentication, method) {
            (ClientAuthentication::Secret(secret), AuthMethod::Basic | AuthMethod::BasicAlone) => {
                let pair =
                    BASE64_STANDARD.encode(format!("{}:{}", escaped(id), escaped(secret.expose_secret())));
                authorization = HeaderValue::from_str(&format!("Basic {pair}")).ok();
                secrets.extend([secret.clone(), pair.into()]);
            }
            (ClientAuthentication::Secret(secret), AuthMethod::Post) => {
                form.push(("client_secret", secret.clone()));
                secrets.push(secret.clone());
            }
            (ClientAuthentication::PrivateKey(key), _) => form.extend([
                ("client_assertion_type", ASSERTION_TYPE.into()),
                ("client_assertion", assertion(key, id, audience(self.server), self.now)?),
            ]),
            (ClientAuthentication::Public | ClientAuthentication::Secret(_), _) => {}
        }
        secrets.extend(form.iter().filter(|(name, _)| SECRET.contains(name)).map(|(_, value)| value.clone()));
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(form.iter().map(|(name, value)| (name, value.expose_secret())));
        Ok(PreparedRequest { authorization, body: body.finish().into_bytes(), secrets })
    }
}

/// A request with the client's authentication in it.
struct PreparedRequest {
    authorization: Option<HeaderValue>,
    body: Vec<u8>,
    secrets: Vec<SecretString>,
}

/// Returns the likeliest method, and those to try if the server refuses the client.
fn methods(server: &AuthorizationServer, client: Client<'_>) -> (AuthMethod, &'static [AuthMethod]) {
    use AuthMethod::{Basic, BasicAlone, Post};
    match &client.registration.authentication {
        ClientAuthentication::Public => return (AuthMethod::None, &[]),
        ClientAuthentication::PrivateKey(_) => return (AuthMethod::PrivateKey, &[]),
        ClientAuthentication::Secret(_) => {}
    }
    let offers = |method: &str| server.token_endpoint_auth_methods.iter().any(|one| one == method);
    let (basic, post) = (offers("client_secret_basic"), offers("client_secret_post"));
    match client.auth_method {
        Some("client_secret_post") => (Post, &[Basic]),
        Some("client_secret_basic") => (Basic, &[Post]),
        Some(BASIC_ALONE) => (BasicAlone, &[Post]),
        // A server that issues a secret expects it to be sent, even if its response says `none`.
        Some("none") if basic && !post => (Basic, &[Post, AuthMethod::None]),
        Some("none") => (Post, &[Basic, AuthMethod::None]),
        _ if post && !basic => (Post, &[Basic]),
        _ => (Basic, &[Post]),
    }
}

/// Returns true if an answer refuses the client, so that the server did not look at the code or the refresh token. RFC
/// 6749 §5.2 has `invalid_client` for that; some servers answer 401 without a code, or `unauthorized_client`.
fn refuses_client(answer: &Answer) -> bool {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let says = |code: &str| body["error"] == code;
    match answer.status {
        StatusCode::UNAUTHORIZED => {
            says("invalid_client") || says("unauthorized_client") || !body["error"].is_string()
        }
        status => says("invalid_client") && !status.is_server_error(),
    }
}

/// Returns true if an answer refuses a request for using two methods at once. RFC 6749 §2.3 forbids that, and
/// workers-oauth-provider takes `client_id` for a method.
fn sees_two_methods(answer: &Answer) -> bool {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let description = body["error_description"].as_str().unwrap_or_default().to_ascii_lowercase();
    answer.status.is_client_error()
        && (body["error"] == "invalid_request" || body["error"] == "invalid_client")
        && description.contains("multiple")
        && description.contains("method")
}

/// Escapes an id or secret for HTTP Basic (RFC 6749 §2.3.1). Unreserved characters stay, for servers that do not unescape.
fn escaped(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// Returns the audience of an assertion: the issuer. With the token endpoint, which metadata names, another server could
/// obtain an assertion for its own. If the issuer is not known, the entry's token endpoint.
fn audience(server: &AuthorizationServer) -> &str {
    if server.issuer_is_told { &server.issuer } else { server.token_endpoint.as_str() }
}

/// Returns a client assertion, signed with the client's private key (RFC 7523 §3).
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
    fn a_secret_is_sent_by_the_known_method_and_then_by_the_other() {
        use AuthMethod::{Basic, BasicAlone, None as Without, Post};
        let check = |offered: &[&str], known: Option<&str>, first: AuthMethod, others: &[AuthMethod]| {
            let registration = ClientRegistration {
                client_id: "c".into(),
                authentication: ClientAuthentication::Secret("s".into()),
            };
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
    fn a_refusal_of_the_client_is_recognized() {
        let check = |status: u16, body: &str, expected: bool| {
            let answer = Answer {
                status: StatusCode::from_u16(status).unwrap(),
                headers: http::HeaderMap::new(),
                body: body.as_bytes().to_vec(),
            };
            assert_eq!(refuses_client(&answer), expected, "{status} {body}");
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
