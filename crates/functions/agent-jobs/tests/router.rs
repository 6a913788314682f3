//! Tests of the router without Lambda: responses that need no call of AWS.

use std::sync::Arc;

use agent_jobs::{Api, Config, router};
use aws_config::{BehaviorVersion, SdkConfig};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use serde_json::Value;
use tower::ServiceExt;

fn jobs() -> Router {
    let lookup =
        |name: &str| Some(format!("the-{name}").to_lowercase()).filter(|_| name.starts_with("AGENT_"));
    let config = Config::from_vars(&lookup).unwrap();
    let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    router(Arc::new(Api::new(&aws, config)))
}

fn caller(group: &str) -> identity::Caller {
    let claims = serde_json::json!({"username": "ada", "sub": "s-1", "cognito:groups": group});
    identity::Caller::of_claims(&claims).unwrap()
}

async fn send(method: &str, path: &str, group: Option<&str>, body: &str) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
    if let Some(group) = group {
        request.extensions_mut().insert(caller(group));
    }
    let response = jobs().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

#[tokio::test]
async fn a_path_with_two_handlers_allows_the_methods_of_both() {
    let request = Request::builder().method("PUT").uri("/jobs").body(Body::empty()).unwrap();
    let response = jobs().oneshot(request).await.unwrap();
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "POST,GET,HEAD");
}

async fn refused(method: &str, path: &str, group: Option<&str>, body: &str, expected: (u16, &str)) -> Value {
    let (status, answer) = send(method, path, group, body).await;
    assert_eq!((status, answer["error"].as_str().unwrap_or_default()), expected, "{method} {path} {answer}");
    answer
}

#[tokio::test]
async fn every_error_has_the_same_body() {
    let author = Some("[Author]");
    refused("GET", "/jobs", None, "", (401, "unauthenticated")).await;
    refused("GET", "/jobs", Some("[Guest]"), "", (403, "forbidden")).await;
    refused("GET", "/nothing", None, "", (404, "not_found")).await;
    refused("PUT", "/jobs/", author, "", (405, "method_not_allowed")).await;
    refused("POST", "/jobs", author, "no JSON", (400, "invalid_request")).await;
    for (query, field) in [("limit=0", "limit"), ("limit=x", "limit"), ("nextToken=x", "nextToken")] {
        let answer = refused("GET", &format!("/jobs?{query}"), author, "", (400, "invalid_request")).await;
        assert!(answer["errors"][field].is_array(), "{answer}");
    }
    let answer = refused("GET", "/agents?refresh=maybe", author, "", (400, "invalid_request")).await;
    assert!(answer["errors"]["refresh"].is_array(), "{answer}");
    let answer = refused("POST", "/jobs", author, r#"{"agentIds": ["a"]}"#, (400, "invalid_request")).await;
    assert_eq!(answer["errors"]["query"][0], "Query is required");
}

#[tokio::test]
async fn the_openapi_document_needs_no_caller() {
    let (status, document) = send("GET", "/openapi.json", None, "").await;
    assert_eq!((status, &document["openapi"]), (200, &"3.1.0".into()));
}
