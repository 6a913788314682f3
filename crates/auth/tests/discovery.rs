//! Who signs people in to a server: found out from its documents, each believed about itself alone.

mod support;

use std::sync::Arc;

use auth::OAuth;
use serde_json::{Value, json};
use support::{at, kind, of_client, of_user, process, server, token};
use test_support::authorization_server::{AuthorizationServer, Settings};
use vault::ProcessVault;

fn oauth() -> OAuth {
    process(Arc::new(ProcessVault::default())).oauth().clone()
}

async fn with(settings: Settings) -> AuthorizationServer {
    AuthorizationServer::start(settings).await.unwrap()
}

fn metadata(members: Value) -> serde_json::Map<String, Value> {
    members.as_object().cloned().unwrap()
}

#[tokio::test]
async fn the_challenge_leads_to_the_endpoints() {
    let server = server().await;
    let found = oauth().discover(&of_user(&server)).await.unwrap();
    assert_eq!(found.issuer, server.issuer());
    assert_eq!(found.token_endpoint.as_str(), format!("{}/token", server.issuer()));
    assert_eq!(found.resource, Some(server.mcp_url()));
    let expected =
        ["/mcp", "/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server"];
    assert_eq!(server.paths(), expected, "nothing is asked that the challenge does not lead to");
}

#[tokio::test]
async fn a_challenge_without_an_address_falls_back_to_the_well_known_place() {
    let server = with(Settings { challenges: false, ..Settings::default() }).await;
    let found = oauth().discover(&of_user(&server)).await.unwrap();
    assert_eq!(found.issuer, server.issuer());
    assert!(server.paths().contains(&"/.well-known/oauth-protected-resource/mcp".to_owned()));
}

#[tokio::test]
async fn a_server_without_metadata_is_its_own_authorization_server() {
    let server = with(Settings { has_resource_metadata: false, ..Settings::default() }).await;
    let found = oauth().discover(&of_user(&server)).await.unwrap();
    assert_eq!(found.issuer, server.issuer());
    assert_eq!(found.resource, Some(server.mcp_url()));
}

#[tokio::test]
async fn metadata_of_openid_connect_serves_where_there_is_none_of_oauth() {
    let server =
        with(Settings { metadata_path: "/.well-known/openid-configuration", ..Settings::default() }).await;
    let found = oauth().discover(&of_user(&server)).await.unwrap();
    assert_eq!(found.issuer, server.issuer());
    let well_known: Vec<String> =
        server.paths().into_iter().filter(|path| !path.contains("resource") && path != "/mcp").collect();
    let expected = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];
    assert_eq!(well_known, expected, "in the specification's order");
}

#[tokio::test]
async fn endpoints_that_no_document_names_are_not_tried() {
    let server = with(Settings { metadata_path: "/nowhere", ..Settings::default() }).await;
    assert_eq!(kind(oauth().discover(&of_user(&server)).await), "no_metadata");
    assert!(!server.paths().iter().any(|path| path == "/authorize" || path == "/token"));
}

#[tokio::test]
async fn a_document_of_another_issuer_or_resource_is_refused() {
    let of_another = metadata(json!({"issuer": "http://127.0.0.1:9"}));
    let server = with(Settings { metadata: of_another, ..Settings::default() }).await;
    assert_eq!(kind(oauth().discover(&of_user(&server)).await), "issuer_mismatch");

    let resource = Some("http://127.0.0.1:9/mcp".to_owned());
    let server = with(Settings { resource, ..Settings::default() }).await;
    assert_eq!(kind(oauth().discover(&of_user(&server)).await), "resource_mismatch");
}

#[tokio::test]
async fn an_authorization_server_that_promises_no_pkce_is_refused() {
    let without = metadata(json!({"code_challenge_methods_supported": null}));
    let server = with(Settings { metadata: without, ..Settings::default() }).await;
    assert_eq!(kind(oauth().discover(&of_user(&server)).await), "pkce_not_supported");
}

#[tokio::test]
async fn a_page_that_no_browser_may_open_is_refused() {
    let page = metadata(json!({"authorization_endpoint": "javascript:alert(1)"}));
    let server = with(Settings { metadata: page, ..Settings::default() }).await;
    let refused = kind(oauth().discover(&of_user(&server)).await);
    assert!(["not_https", "metadata_unusable", "not_offered"].contains(&refused), "{refused}");
}

#[tokio::test]
async fn of_several_authorization_servers_the_first_that_can_be_used_is() {
    let (broken, good) =
        (with(Settings { metadata_path: "/nowhere", ..Settings::default() }).await, server().await);
    let named = vec![broken.issuer().to_owned(), good.issuer().to_owned()];
    let server = with(Settings { authorization_servers: Some(named), ..Settings::default() }).await;
    assert_eq!(oauth().discover(&of_user(&server)).await.unwrap().issuer, good.issuer());
}

#[tokio::test]
async fn a_secret_is_shown_to_the_first_authorization_server_alone() {
    let (server, new) = (server().await, server().await);
    for server in [&server, &new] {
        server.add_client("client", Some("a-long-secret"));
    }
    let store = Arc::new(ProcessVault::default());
    let config = of_client(&server, "client", "a-long-secret");
    token(&process(store.clone()), &config, at(0)).await.unwrap();
    server.change(|settings| settings.authorization_servers = Some(vec![new.issuer().to_owned()]));
    let changed = token(&process(store), &config, at(7_200)).await.unwrap_err();
    assert!(changed.to_string().contains(new.issuer()), "{changed}");
    assert_eq!(new.token_requests().len(), 0);
}
