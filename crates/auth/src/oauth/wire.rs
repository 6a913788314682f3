//! Requests to authorization servers: what every one of them has in common.
//!
//! Each goes through [`HttpClient`], so that addresses learned from metadata are held to the same rules as
//! those of entries. What is fetched may have moved; what is posted is never sent on, since it holds
//! secrets. What is fetched is asked for again on 5xx and 429; whether that is safe for what is posted,
//! its caller knows.

use std::{sync::Arc, time::Duration};

use egress::{EgressError, HttpClient};
use futures::StreamExt;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use url::Url;

use super::about::Place;
use super::error::OAuthError;

/// How often a request is sent when the answer is 5xx or 429.
pub(crate) const TRIES: usize = 3;
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that a server may ask for: somebody is waiting.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How often a document may be somewhere else.
const MAX_MOVES: usize = 3;
/// Far more than any metadata or token answer holds.
const MAX_BYTES: usize = 256 * 1024;
/// What asks a server for anything at all, to hear how it wants to be signed in to.
const PING: &str = r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#;

/// An answer, read as far as that was wanted.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Whether what comes after the headers matters.
#[derive(Clone, Copy)]
enum Body {
    Read,
    /// It may be a stream that never ends.
    Left,
}

impl Answer {
    /// The JSON in it. A byte order mark before it is passed over: RFC 8259 §8.1 allows that.
    pub(crate) fn json<T: DeserializeOwned>(&self, place: Place) -> Result<T, OAuthError> {
        let body = self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.body);
        serde_json::from_slice(body).map_err(|error| {
            let start = body.iter().find(|byte| !byte.is_ascii_whitespace());
            match error.classify() {
                serde_json::error::Category::Data => OAuthError::Incomplete { place, field: "object" },
                _ => OAuthError::NotJson { place, html: start == Some(&b'<') },
            }
        })
    }

    /// Whether the same request may get another answer soon.
    pub(crate) fn is_busy(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error()
    }

    /// How long to wait before the `n`th repetition.
    pub(crate) fn pause(&self, n: usize) -> Duration {
        let asked = self.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let usual = PAUSE * 2_u32.pow(n.min(8) as u32);
        asked.map_or(usual, Duration::from_secs).min(LONGEST_PAUSE)
    }
}

/// Fetches a document, wherever it has moved to.
pub(crate) async fn get(http: &HttpClient, url: &Url, place: Place) -> Result<Answer, OAuthError> {
    let mut url = url.clone();
    for _ in 0..=MAX_MOVES {
        let answer = ask(http, place, Body::Read, || request(Method::GET, &url, Vec::new())).await?;
        let moved = answer.headers.get(LOCATION).filter(|_| answer.status.is_redirection());
        match moved.and_then(|location| url.join(location.to_str().ok()?).ok()) {
            Some(next) => url = next,
            None => return Ok(answer),
        }
    }
    Err(OAuthError::Moved { place, times: MAX_MOVES })
}

/// Posts a body, once.
pub(crate) async fn post(
    http: &HttpClient,
    url: &Url,
    place: Place,
    kind: &'static str,
    authorization: Option<HeaderValue>,
    body: Vec<u8>,
) -> Result<Answer, OAuthError> {
    let mut request = request(Method::POST, url, body).map_err(|error| unreachable(place, error))?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(mut authorization) = authorization {
        authorization.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    send(http, place, Body::Read, request).await
}

/// Asks the MCP server without a credential.
pub(crate) async fn ping(
    http: &HttpClient,
    url: &Url,
    headers: &[(HeaderName, HeaderValue)],
) -> Result<Answer, OAuthError> {
    let make = |method: Method, body: &str| {
        let mut request = request(method, url, body.as_bytes().to_vec())?;
        let fields = request.headers_mut();
        fields.extend(headers.iter().cloned());
        fields.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if !body.is_empty() {
            fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        Ok(request)
    };
    let answer = ask(http, Place::Server, Body::Left, || make(Method::POST, PING)).await?;
    match answer.status {
        // An HTTP+SSE endpoint takes no POST.
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            ask(http, Place::Server, Body::Left, || make(Method::GET, "")).await
        }
        _ => Ok(answer),
    }
}

fn request(method: Method, url: &Url, body: Vec<u8>) -> Result<Request<Vec<u8>>, EgressError> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = url.as_str().parse().map_err(|_| EgressError::Url)?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    Ok(request)
}

/// Sends what may be sent again, until it is answered with something else than 5xx and 429.
async fn ask(
    http: &HttpClient,
    place: Place,
    body: Body,
    make: impl Fn() -> Result<Request<Vec<u8>>, EgressError>,
) -> Result<Answer, OAuthError> {
    let mut tried = 0;
    loop {
        let request = make().map_err(|error| unreachable(place, error))?;
        let answer = send(http, place, body, request).await?;
        tried += 1;
        if tried == TRIES || !answer.is_busy() {
            return Ok(answer);
        }
        tokio::time::sleep(answer.pause(tried - 1)).await;
    }
}

async fn send(
    http: &HttpClient,
    place: Place,
    reading: Body,
    request: Request<Vec<u8>>,
) -> Result<Answer, OAuthError> {
    let failed = |error| unreachable(place, error);
    let (parts, mut stream) = http.send(request).await.map_err(failed)?.into_parts();
    let mut body = Vec::new();
    while let Body::Read = reading
        && let Some(chunk) = stream.next().await
    {
        body.extend_from_slice(&chunk.map_err(failed)?);
        if body.len() > MAX_BYTES {
            return Err(OAuthError::TooLarge { place, limit: MAX_BYTES });
        }
    }
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

fn unreachable(place: Place, error: EgressError) -> OAuthError {
    OAuthError::Unreachable { place, source: Arc::new(error) }
}
