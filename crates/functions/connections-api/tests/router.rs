//! Tests of the router without Lambda: responses that need no call of AWS.

use std::sync::Arc;

use aws_config::{BehaviorVersion, SdkConfig};
use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use connections_api::{Api, Config, router};
use serde_json::{Value, json};
use tower::ServiceExt;

fn connections() -> Router {
    let lookup = |name: &str| match name {
        "OAUTH_CALLBACK_URL" => Some("https://api.example.com/oauth/callback".to_owned()),
        "CONNECTIONS_TABLE" | "CONNECTIONS_KEY" => Some("connections".to_owned()),
        _ => None,
    };
    let aws = SdkConfig::builder().behavior_version(BehaviorVersion::latest()).build();
    router(Arc::new(Api::new(&aws, Config::from_vars(&lookup).unwrap())))
}

async fn send(method: &str, path: &str, group: Option<&str>, body: &str) -> (u16, Value) {
    let mut request = Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).unwrap();
    if let Some(group) = group {
        let claims = json!({"username": "ada", "sub": "s-1", "cognito:groups": group});
        request.extensions_mut().insert(identity::Caller::of_claims(&claims).unwrap());
    }
    let response = connections().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

async fn refused(method: &str, path: &str, group: Option<&str>, body: &str, expected: (u16, &str)) {
    let (status, answer) = send(method, path, group, body).await;
    assert_eq!((status, answer["error"].as_str().unwrap_or_default()), expected, "{method} {path} {answer}");
    assert!(answer["remedy"].is_string(), "{answer}");
}

#[tokio::test]
async fn every_error_has_the_same_body() {
    let author = Some("[Author]");
    for (method, path) in [
        ("POST", "/oauth/start"),
        ("GET", "/oauth/connections/"),
        ("DELETE", "/oauth/an/agent"),
        ("DELETE", "/oauth/start"),
        ("DELETE", "/oauth?agent_id=a%2Fb"),
    ] {
        refused(method, path, None, "", (401, "unauthenticated")).await;
        refused(method, path, Some("[Guest]"), "", (403, "forbidden")).await;
    }
    let everybody = r#"{"agent_id": "a", "owner": "everybody"}"#;
    refused("POST", "/oauth/start", author, everybody, (403, "forbidden")).await;
    refused("DELETE", "/oauth/a?owner=everybody", author, "", (403, "forbidden")).await;
    refused("POST", "/oauth/start", author, "{}", (400, "invalid_request")).await;
    refused("DELETE", "/oauth", author, "", (400, "invalid_request")).await;
    refused("PUT", "/oauth/a", author, "", (405, "method_not_allowed")).await;
    refused("GET", "/oauth/start", author, "", (405, "method_not_allowed")).await;
    refused("GET", "/elsewhere", author, "", (404, "not_found")).await;
}

#[tokio::test]
async fn the_client_metadata_document_needs_no_caller() {
    let (status, document) = send("GET", "/oauth/client-metadata.json", None, "").await;
    assert_eq!(
        (status, &document["redirect_uris"][0]),
        (200, &"https://api.example.com/oauth/callback".into())
    );
}
