//! The extractors of handlers: the query, the variable parts of the path, the JSON body. [`Json`] is also a response.
//!
//! They refuse a request that does not fit with an [`HttpError`], which names the wrong field.

use std::fmt::Display;

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode_str;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use serde_path_to_error::Error as PathError;
use url::form_urlencoded;

use crate::{ErrorKind, HttpError, json_response::json_response};

/// The largest request body, in bytes. The largest query of a job takes a fifth of that, or three fifths if each of its
/// characters is written as an escape sequence.
const MAX_BODY_BYTES: usize = 1_000_000;

/// The parameters of the query.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

/// The variable parts of the path, percent-decoded. A `%2F` becomes a slash inside its part.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

/// A request body that is a JSON object, or a response in JSON, which no cache may store.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

/// The media type of a request body, from the header `Content-Type`.
#[derive(Debug, PartialEq, Eq)]
enum MediaType {
    /// `application/json`, `*+json`, or no header.
    Json,
    /// `application/x-www-form-urlencoded`, which `curl --data` sends by default. The body may still be JSON.
    Form,
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, HttpError> {
        let pairs = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
        let read = serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs));
        read.map(Self).map_err(|error| unreadable_field(&error))
    }
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(read)) => Ok(Self(read)),
            Err(_) => Err(HttpError::invalid_request("the path is not UTF-8")),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = HttpError;

    async fn from_request(request: Request, _: &S) -> Result<Self, HttpError> {
        let media_type = media_type(request.headers())?;
        let body = to_bytes(request.into_body(), MAX_BODY_BYTES).await.map_err(|_| {
            HttpError::new(ErrorKind::BodyTooLarge, "the body is larger than 1 MB")
                .with_remedy("send a smaller body")
        })?;
        let value: Value = serde_json::from_slice(&body).map_err(|_| match media_type {
            MediaType::Json => HttpError::invalid_request("the body is not JSON"),
            MediaType::Form => unsupported("the body is a form, not JSON"),
        })?;
        if !value.is_object() {
            return Err(HttpError::invalid_request("the body is not a JSON object"));
        }
        serde_path_to_error::deserialize(value).map(Self).map_err(|error| unreadable_field(&error))
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        json_response(StatusCode::OK, &self.0)
    }
}

/// Splits a path into its segments and percent-decodes each. Leaves out empty segments.
///
/// # Errors
/// 400 if a segment is not UTF-8.
pub fn path_segments(path: &str) -> Result<Vec<String>, HttpError> {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    let decoded = segments.map(|segment| percent_decode_str(segment).decode_utf8().map(Into::into));
    let decoded: Result<Vec<String>, _> = decoded.collect();
    decoded.map_err(|_| HttpError::invalid_request("the path is not UTF-8"))
}

fn media_type(headers: &HeaderMap) -> Result<MediaType, HttpError> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return Ok(MediaType::Json) };
    let essence = value.to_str().unwrap_or("?").split(';').next().unwrap_or_default().trim();
    match essence.to_ascii_lowercase().as_str() {
        "" | "application/json" => Ok(MediaType::Json),
        "application/x-www-form-urlencoded" => Ok(MediaType::Form),
        other if other.contains('/') && other.ends_with("+json") => Ok(MediaType::Json),
        _ => Err(unsupported("the Content-Type is not JSON's")),
    }
}

fn unsupported(message: &str) -> HttpError {
    HttpError::new(ErrorKind::UnsupportedMediaType, message)
        .with_remedy("send JSON with Content-Type: application/json")
}

/// Returns 400 with the field that could not be read.
fn unreadable_field<E: Display>(error: &PathError<E>) -> HttpError {
    let problem = error.inner().to_string();
    if let Some(field) = missing_field(&problem) {
        return HttpError::invalid_request(format!("{field} is missing")).with_field(field, "is missing");
    }
    // The path `.` means the whole structure, not a field.
    match error.path().to_string().as_str() {
        "." => HttpError::invalid_request(problem),
        field => HttpError::invalid_field(field, &problem),
    }
}

/// Returns the field's name from serde's message for a missing field. The error's path names only the structure around
/// the field.
fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Params {
        name: String,
        count: Option<u8>,
    }

    async fn answer(response: Response) -> (u16, Value) {
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn check_body(content_type: Option<&str>, body: &str, expected: Result<&str, (u16, &str)>) {
        let mut request = Request::new(Body::from(body.to_owned()));
        if let Some(content_type) = content_type {
            request.headers_mut().insert(header::CONTENT_TYPE, content_type.parse().unwrap());
        }
        let outcome = match Json::<Params>::from_request(request, &()).await {
            Ok(Json(params)) => Ok(params.name),
            Err(error) => {
                let (status, body) = answer(error.into_response()).await;
                Err((status, body["message"].as_str().unwrap().to_owned()))
            }
        };
        let expected = expected.map(str::to_owned).map_err(|(status, message)| (status, message.to_owned()));
        assert_eq!(outcome, expected, "{content_type:?} {body:.40}");
    }

    #[tokio::test]
    async fn a_body_is_a_json_object_also_with_curls_default_content_type() {
        let good = r#"{"name": "a"}"#;
        let form = "application/x-www-form-urlencoded";
        for content_type in
            ["application/json", "application/JSON; charset=utf-8", "application/x+json", form]
        {
            check_body(Some(content_type), good, Ok("a")).await;
        }
        check_body(None, good, Ok("a")).await;
        check_body(Some("text/plain"), good, Err((415, "the Content-Type is not JSON's"))).await;
        check_body(Some(form), "name=a", Err((415, "the body is a form, not JSON"))).await;
        check_body(None, "name=a", Err((400, "the body is not JSON"))).await;
        check_body(None, "", Err((400, "the body is not JSON"))).await;
        check_body(None, "[]", Err((400, "the body is not a JSON object"))).await;
        check_body(None, "{}", Err((400, "name is missing"))).await;
        let problem = "count: invalid value: integer `-1`, expected u8";
        check_body(None, r#"{"name": "a", "count": -1}"#, Err((400, problem))).await;
        check_body(None, &"x".repeat(MAX_BODY_BYTES + 1), Err((413, "the body is larger than 1 MB"))).await;
    }

    #[tokio::test]
    async fn the_error_names_the_wrong_parameter_of_a_query() {
        let read = |query: &str| {
            let request = Request::builder().uri(format!("/x?{query}")).body(()).unwrap();
            let (mut parts, ()) = request.into_parts();
            async move { Query::<Params>::from_request_parts(&mut parts, &()).await }
        };
        assert_eq!(read("name=a%2Fb&count=7&more=1").await.unwrap().0.name, "a/b");
        for (query, errors) in [
            ("count=7", json!({"name": ["is missing"]})),
            ("name=a&count=x", json!({"count": ["invalid digit found in string"]})),
        ] {
            let (status, body) = answer(read(query).await.unwrap_err().into_response()).await;
            assert_eq!((status, &body["errors"]), (400, &errors), "{query}");
        }
    }

    #[test]
    fn paths_are_split_before_they_are_decoded() {
        assert_eq!(path_segments("/oauth/a%2Fb/c%20d/").unwrap(), ["oauth", "a/b", "c d"]);
        assert!(path_segments("/oauth/%ff").is_err());
    }

    #[test]
    fn responses_are_not_cached() {
        let response = (StatusCode::ACCEPTED, Json(json!({"a": 1}))).into_response();
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["content-type"], "application/json");
    }
}
