//! Requests as API Gateway hands them to a function, and answers as it takes them.
//!
//! Payload format 2.0:
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>

use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use url::form_urlencoded;

use crate::caller::Caller;

/// A request that cannot be read, in words for whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRequest(pub &'static str);

/// One request.
#[derive(Debug, Clone)]
pub struct HttpRequest<'a> {
    event: &'a Value,
    segments: Vec<String>,
}

impl<'a> HttpRequest<'a> {
    /// Whether an event is a request.
    pub fn is_one(event: &Value) -> bool {
        event.get("requestContext").is_some_and(|context| context.get("http").is_some())
    }

    /// Reads an event.
    ///
    /// # Errors
    /// [`BadRequest`] if its path is no text.
    pub fn read(event: &'a Value) -> Result<Self, BadRequest> {
        let raw = event["rawPath"].as_str().unwrap_or_default();
        // The stage's name stands before the path, unless it is the default one.
        let stage = event["requestContext"]["stage"].as_str().unwrap_or_default();
        let raw = raw.strip_prefix(&format!("/{stage}/")).unwrap_or(raw);
        // Split first: what is named in a segment may hold a slash.
        let segments = raw.split('/').filter(|segment| !segment.is_empty());
        let segments = segments.map(|segment| percent_decode_str(segment).decode_utf8().map(Into::into));
        let segments: Result<Vec<String>, _> = segments.collect();
        Ok(Self { event, segments: segments.map_err(|_| BadRequest("the path is not UTF-8"))? })
    }

    /// Its method, in capitals.
    pub fn method(&self) -> &'a str {
        self.event["requestContext"]["http"]["method"].as_str().unwrap_or_default()
    }

    /// Its path's segments, decoded.
    pub fn segments(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }

    /// Who sent it, as the authorizer has verified.
    pub fn caller(&self) -> Option<Caller> {
        Caller::of_claims(&self.event["requestContext"]["authorizer"]["jwt"]["claims"])
    }

    /// A parameter of its query.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        self.event["queryStringParameters"][name].as_str()
    }

    /// All parameters of its query, as they were sent.
    pub fn parameters(&self) -> Vec<(String, String)> {
        let query = self.event["rawQueryString"].as_str().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }

    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.event["headers"][name].as_str()
    }

    /// Its body, a JSON object.
    ///
    /// # Errors
    /// [`BadRequest`] if it is none.
    pub fn object(&self) -> Result<Value, BadRequest> {
        let text = self.event["body"].as_str().unwrap_or_default();
        let read = if self.event["isBase64Encoded"] == true {
            serde_json::from_slice(&BASE64_STANDARD.decode(text).unwrap_or_default())
        } else {
            serde_json::from_str(text)
        };
        let body: Value = read.map_err(|_| BadRequest("the body is not JSON"))?;
        if body.is_object() { Ok(body) } else { Err(BadRequest("the body is not a JSON object")) }
    }
}

/// An answer in JSON, which nobody may keep. `null` is an answer without a body.
pub fn json_response(status: u16, body: &Value) -> Value {
    if body.is_null() {
        return json!({"statusCode": status});
    }
    json!({
        "statusCode": status,
        "headers": {"content-type": "application/json", "cache-control": "no-store"},
        "body": body.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_read_without_its_stage() {
        let check = |raw: &str, stage: &str, expected: &[&str]| {
            let event = json!({"rawPath": raw, "requestContext": {"stage": stage}});
            assert_eq!(HttpRequest::read(&event).unwrap().segments(), expected);
        };
        check("/jobs/a%20b", "$default", &["jobs", "a b"]);
        check("/jobs/a%2Fb/messages/", "$default", &["jobs", "a/b", "messages"]);
        check("/prod/jobs", "prod", &["jobs"]);
        check("/", "$default", &[]);
        assert!(HttpRequest::read(&json!({"rawPath": "/%ff"})).is_err());
    }

    #[test]
    fn a_body_is_an_object_however_it_is_encoded() {
        let check = |body: &str, encoded: bool, expected: Option<Value>| {
            let event = json!({"body": body, "isBase64Encoded": encoded});
            assert_eq!(HttpRequest::read(&event).unwrap().object().ok(), expected);
        };
        check(r#"{"a": 1}"#, false, Some(json!({"a": 1})));
        check("eyJhIjogMX0=", true, Some(json!({"a": 1})));
        check("[]", false, None);
        check("", false, None);
    }
}
