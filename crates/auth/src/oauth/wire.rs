//! Sends the requests of this module, to authorization servers and MCP servers.
//!
//! Every request goes through [`HttpClient`], so that URLs from metadata are held to the same rules as those of entries.
//! A GET follows redirects and is repeated on 5xx and 429. A POST has secrets in it: no redirect is followed, and only
//! the caller can decide whether repeating it is safe.

use std::{sync::Arc, time::Duration};

use egress::{EgressError, HttpClient};
use futures::StreamExt;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use url::Url;

use super::{error::OAuthError, request_context::Endpoint};

/// How often a request is sent while the answer is 5xx or 429.
pub(crate) const MAX_ATTEMPTS: usize = 3;
/// Pause before the second attempt, in milliseconds; it doubles with each attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause that `Retry-After` can ask for, in seconds: a user or a model waits for the result.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How many redirects are followed for one document.
const MAX_REDIRECTS: usize = 3;
/// Size limit of an answer, in bytes: far more than any metadata document or token response has.
const MAX_BYTES: usize = 256 * 1024;
/// The JSON-RPC request that is sent to an MCP server without a credential, for the challenge in its 401.
const PING: &str = r#"{"jsonrpc":"2.0","id":0,"method":"ping"}"#;

/// An HTTP answer. The body is empty if it was not to be read.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// Whether the body of an answer is read.
#[derive(Clone, Copy)]
enum Body {
    Read,
    /// Not read: an MCP server's body may be a stream without an end.
    Unread,
}

impl Answer {
    /// Parses the body as JSON. A byte order mark before it is ignored, which RFC 8259 §8.1 allows.
    pub(crate) fn json<T: DeserializeOwned>(&self, endpoint: Endpoint) -> Result<T, OAuthError> {
        let body = self.body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.body);
        serde_json::from_slice(body).map_err(|error| {
            let start = body.iter().find(|byte| !byte.is_ascii_whitespace());
            match error.classify() {
                serde_json::error::Category::Data => OAuthError::Incomplete { endpoint, field: "object" },
                _ => OAuthError::NotJson { endpoint, html: start == Some(&b'<') },
            }
        })
    }

    /// Returns true if the same request may get another answer soon.
    pub(crate) fn is_busy(&self) -> bool {
        self.status == StatusCode::TOO_MANY_REQUESTS || self.status.is_server_error()
    }

    /// Returns the pause before the `n`th repetition, counted from 0: `Retry-After`, or a doubling one.
    pub(crate) fn pause(&self, n: usize) -> Duration {
        let asked = self.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let usual = FIRST_PAUSE * 2_u32.pow(n.min(8) as u32);
        asked.map_or(usual, Duration::from_secs).min(LONGEST_PAUSE)
    }
}

/// Fetches a document; follows up to [`MAX_REDIRECTS`] redirects.
pub(crate) async fn get(http: &HttpClient, url: &Url, endpoint: Endpoint) -> Result<Answer, OAuthError> {
    let mut url = url.clone();
    for _ in 0..=MAX_REDIRECTS {
        let answer =
            send_with_retries(http, endpoint, Body::Read, || request(Method::GET, &url, Vec::new())).await?;
        let moved = answer.headers.get(LOCATION).filter(|_| answer.status.is_redirection());
        match moved.and_then(|location| url.join(location.to_str().ok()?).ok()) {
            Some(next) => url = next,
            None => return Ok(answer),
        }
    }
    Err(OAuthError::Moved { endpoint, times: MAX_REDIRECTS })
}

/// Posts a body once.
pub(crate) async fn post(
    http: &HttpClient,
    url: &Url,
    endpoint: Endpoint,
    kind: &'static str,
    authorization: Option<HeaderValue>,
    body: Vec<u8>,
) -> Result<Answer, OAuthError> {
    let mut request = request(Method::POST, url, body).map_err(|error| unreachable(endpoint, error))?;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(mut authorization) = authorization {
        authorization.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    send(http, endpoint, Body::Read, request).await
}

/// Sends a request without a credential to an MCP server, for the challenge in its 401.
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
    let answer =
        send_with_retries(http, Endpoint::McpServer, Body::Unread, || make(Method::POST, PING)).await?;
    match answer.status {
        // An HTTP+SSE endpoint accepts no POST.
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
            send_with_retries(http, Endpoint::McpServer, Body::Unread, || make(Method::GET, "")).await
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

/// Sends a request up to [`MAX_ATTEMPTS`] times, until the answer is neither 5xx nor 429.
async fn send_with_retries(
    http: &HttpClient,
    endpoint: Endpoint,
    body: Body,
    make: impl Fn() -> Result<Request<Vec<u8>>, EgressError>,
) -> Result<Answer, OAuthError> {
    let mut attempts = 0;
    loop {
        let request = make().map_err(|error| unreachable(endpoint, error))?;
        let answer = send(http, endpoint, body, request).await?;
        attempts += 1;
        if attempts == MAX_ATTEMPTS || !answer.is_busy() {
            return Ok(answer);
        }
        tokio::time::sleep(answer.pause(attempts - 1)).await;
    }
}

async fn send(
    http: &HttpClient,
    endpoint: Endpoint,
    reading: Body,
    request: Request<Vec<u8>>,
) -> Result<Answer, OAuthError> {
    let failed = |error| unreachable(endpoint, error);
    let (parts, mut stream) = http.send(request).await.map_err(failed)?.into_parts();
    let mut body = Vec::new();
    while let Body::Read = reading
        && let Some(chunk) = stream.next().await
    {
        body.extend_from_slice(&chunk.map_err(failed)?);
        if body.len() > MAX_BYTES {
            return Err(OAuthError::TooLarge { endpoint, limit: MAX_BYTES });
        }
    }
    Ok(Answer { status: parts.status, headers: parts.headers, body })
}

fn unreachable(endpoint: Endpoint, error: EgressError) -> OAuthError {
    OAuthError::Unreachable { endpoint, source: Arc::new(error) }
}
