//! Converts events of API Gateway and Function URLs (payload format 2.0) to requests, and responses to their results.
//!
//! `lambda_http` parses the event. It panics or fails on some URIs and headers that a client can send, because an HTTP
//! API passes paths on decoded, and headers may contain any text. This module therefore encodes or removes such parts
//! before `lambda_http` sees them. The functions' handlers call it.
//!
//! Format: <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderName, HeaderValue, Request, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use lambda_http::aws_lambda_events::{apigw::ApiGatewayV2httpResponse, encodings};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt;

use identity::Caller;

use crate::{HttpError, InvocationEnd};

/// Characters that a decoded path can contain and a path in a URI cannot. `%` is not among them: a part that the
/// gateway has not decoded is still encoded.
const NOT_IN_PATH: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');
/// Characters that a raw query can contain and a query in a URI cannot.
const NOT_IN_QUERY: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>');
/// The longest path with its query, in bytes. API Gateway accepts 10 KB, headers included.
const MAX_URI_BYTES: usize = 16_384;

/// Returns true if an event is an HTTP request.
pub fn is_http(event: &Value) -> bool {
    event.get("requestContext").is_some_and(|context| context.get("http").is_some())
}

/// Sends an event through the router and returns the result for API Gateway. An error becomes an error response. `end`
/// is the end of the invocation.
pub async fn answer(router: &Router, event: Value, end: Instant) -> Value {
    let response = match request(event) {
        Ok(mut request) => {
            request.extensions_mut().insert(InvocationEnd(end));
            match router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        }
        Err(error) => error.into_response(),
    };
    written(response).await
}

fn request(mut event: Value) -> Result<Request<Body>, HttpError> {
    let claims = event["requestContext"]["authorizer"]["jwt"]["claims"].take();
    let caller = Caller::of_claims(&claims);
    let body = body(&mut event)?;
    make_parseable(&mut event)?;
    let read = lambda_http::request::from_str(&event.to_string());
    let read = read.map_err(|_| HttpError::invalid_request("the event is not API Gateway's"))?;
    let mut request = read.map(|_| Body::from(body));
    if let Some(caller) = caller {
        request.extensions_mut().insert(caller);
    }
    Ok(request)
}

/// Removes the body from the event and returns it decoded.
fn body(event: &mut Value) -> Result<Vec<u8>, HttpError> {
    let Value::String(text) = event["body"].take() else { return Ok(Vec::new()) };
    if event["isBase64Encoded"] != true {
        return Ok(text.into_bytes());
    }
    event["isBase64Encoded"] = false.into();
    BASE64_STANDARD.decode(text).map_err(|_| HttpError::invalid_request("the body is not Base64"))
}

/// Changes the event so that `lambda_http` can parse it: path without the stage, query, method, valid headers.
fn make_parseable(event: &mut Value) -> Result<(), HttpError> {
    let raw = event["rawPath"].as_str().unwrap_or_default();
    // The path begins with the stage's name, unless the stage is the default one.
    let stage = event["requestContext"]["stage"].as_str().unwrap_or_default();
    let path = raw.strip_prefix('/').unwrap_or(raw);
    let path = path.strip_prefix(stage).and_then(|rest| rest.strip_prefix('/')).unwrap_or(path);
    let path = format!("/{}", utf8_percent_encode(path, NOT_IN_PATH));
    let query = event["rawQueryString"].as_str().unwrap_or_default();
    let query = utf8_percent_encode(query, NOT_IN_QUERY).to_string();
    if path.len() + query.len() > MAX_URI_BYTES {
        return Err(HttpError::invalid_request("the path and the query are longer than 16 KB"));
    }
    event["rawPath"] = path.into();
    event["rawQueryString"] = query.into();
    // These are not needed, and their shapes differ between API Gateway and Function URLs.
    event["queryStringParameters"] = json!({});
    event["pathParameters"] = json!({});
    let method = event["requestContext"]["http"]["method"].take();
    event["requestContext"] = json!({"stage": "$default", "http": {"method": method}});
    if let Some(headers) = event["headers"].as_object_mut() {
        headers.retain(|name, value| is_header(name, value));
    }
    Ok(())
}

/// Returns true for a header that can be passed on. `Host` cannot, because `lambda_http` puts it into the URI unchecked.
fn is_header(name: &str, value: &Value) -> bool {
    let is_value = value.as_str().is_some_and(|value| HeaderValue::from_str(value).is_ok());
    is_value && HeaderName::try_from(name).is_ok_and(|name| name != header::HOST)
}

async fn written(response: Response) -> Value {
    let (mut parts, body) = response.into_parts();
    // API Gateway sets this header itself.
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let mut answer = ApiGatewayV2httpResponse::default();
    answer.status_code = parts.status.as_u16().into();
    answer.headers = parts.headers;
    answer.is_base64_encoded = std::str::from_utf8(&body).is_err();
    if !body.is_empty() {
        answer.body = Some(match String::from_utf8(body.into()) {
            Ok(text) => encodings::Body::Text(text),
            Err(bytes) => encodings::Body::Binary(bytes.into_bytes()),
        });
    }
    serde_json::to_value(answer).unwrap_or_else(|_| json!({"statusCode": 500}))
}

#[cfg(test)]
mod tests {
    use axum::{extract::Request, http::StatusCode};

    use super::*;
    use crate::path_segments;

    /// Returns a router that responds with the request it received.
    fn echo() -> Router {
        Router::new().fallback(|request: Request| async move {
            let (parts, body) = request.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap();
            let caller = parts.extensions.get::<Caller>().map(|caller| caller.user.name.clone());
            crate::Json(json!({
                "method": parts.method.as_str(),
                "segments": path_segments(parts.uri.path()).unwrap(),
                "query": parts.uri.query(),
                "caller": caller,
                "x-a": parts.headers.get("x-a").map(|value| value.to_str().unwrap()),
                "body": String::from_utf8(body.into()).unwrap(),
            }))
        })
    }

    async fn echoed(event: Value) -> Value {
        let answer = answer(&echo(), event, Instant::now()).await;
        assert_eq!(answer["statusCode"], 200, "{answer}");
        serde_json::from_str(answer["body"].as_str().unwrap()).unwrap()
    }

    fn event(path: &str, stage: &str) -> Value {
        json!({"rawPath": path, "requestContext": {"stage": stage, "http": {"method": "GET"}}})
    }

    #[tokio::test]
    async fn a_path_is_read_without_its_stage_and_split_before_it_is_decoded() {
        for (path, stage, expected) in [
            ("/jobs/a%20b", "$default", json!(["jobs", "a b"])),
            ("/jobs/a%2Fb/messages/", "$default", json!(["jobs", "a/b", "messages"])),
            ("/prod/jobs", "prod", json!(["jobs"])),
            ("/production/jobs", "prod", json!(["production", "jobs"])),
            ("/", "$default", json!([])),
            ("", "$default", json!([])),
            // Decoded, as an HTTP API passes it on.
            ("/jobs/a b?c#d<ü>|\\^`\"{}[]\u{1}", "$default", json!(["jobs", "a b?c#d<ü>|\\^`\"{}[]\u{1}"])),
            ("@evil.example/jobs", "$default", json!(["@evil.example", "jobs"])),
        ] {
            assert_eq!(echoed(event(path, stage)).await["segments"], expected, "{path:?}");
        }
    }

    #[tokio::test]
    async fn odd_parts_of_a_request_do_not_fail() {
        let mut odd = event("/jobs", "$default");
        odd["rawQueryString"] = "a=%2F&b=\"<ü> #|".into();
        odd["headers"] = json!({"x-a": "1", "host": "no host", "x-b": "ü\n", "x c": "1", "x-d": null});
        odd["queryStringParameters"] = "none".into();
        let response = echoed(odd).await;
        assert_eq!(response["query"], "a=%2F&b=%22%3C%C3%BC%3E%20%23|");
        assert_eq!(response["x-a"], "1");
        let long =
            answer(&echo(), event(&format!("/{}", "a".repeat(70_000)), "$default"), Instant::now()).await;
        assert_eq!(long["statusCode"], 400);
        let none = json!({"requestContext": {"http": {"method": 7}}});
        assert_eq!(answer(&echo(), none, Instant::now()).await["statusCode"], 400);
    }

    #[tokio::test]
    async fn the_caller_is_the_user_that_the_authorizer_has_verified() {
        let mut signed = event("/jobs", "$default");
        assert_eq!(echoed(signed.clone()).await["caller"], Value::Null);
        // A claim with a list, which `lambda_http` does not accept.
        signed["requestContext"]["authorizer"]["jwt"]["claims"] =
            json!({"username": "ada", "cognito:groups": ["Admin"]});
        assert_eq!(echoed(signed).await["caller"], "ada");
    }

    #[tokio::test]
    async fn a_body_is_read_as_text_and_as_base64() {
        for (body, encoded, expected) in [
            (json!("{\"a\": 1}"), false, "{\"a\": 1}"),
            (json!("eyJhIjogMX0="), true, "{\"a\": 1}"),
            (json!(null), true, ""),
        ] {
            let mut event = event("/jobs", "$default");
            event["body"] = body;
            event["isBase64Encoded"] = encoded.into();
            assert_eq!(echoed(event).await["body"], expected);
        }
        let mut garbled = event("/jobs", "$default");
        garbled["body"] = "!".into();
        garbled["isBase64Encoded"] = true.into();
        assert_eq!(answer(&echo(), garbled, Instant::now()).await["statusCode"], 400);
    }

    #[tokio::test]
    async fn a_response_without_a_body_has_no_body_field() {
        let router = Router::new().fallback(|| async { StatusCode::NO_CONTENT });
        let answer = answer(&router, event("/", "$default"), Instant::now()).await;
        assert_eq!((&answer["statusCode"], answer.get("body")), (&json!(204), None));
    }
}
