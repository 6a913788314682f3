//! A client that signs in for itself: renewed before its token expires, and shared by all processes.

mod support;

use std::sync::Arc;

use auth::{ClientAuthentication, ClientRegistration, OAuthConfig};
use support::{TWO_HOURS, at, of_client, process, process_with_file, server, token};
use test_support::authorization_server::{AuthorizationServer, Fault, Settings};
use vault::ProcessVault;

const CLIENT: &str = "client";
const SECRET: &str = "a-long-secret";

async fn server_with_client() -> AuthorizationServer {
    let server = server().await;
    server.add_client(CLIENT, Some(SECRET));
    server
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let (server, process) = (server_with_client().await, process(Arc::new(ProcessVault::default())));
    let config = of_client(&server, CLIENT, SECRET);
    let first = token(&process, &config, at(0)).await.unwrap();
    assert_eq!(token(&process, &config, at(3_600 - 61)).await.unwrap(), first);
    let second = token(&process, &config, at(3_600 - 30)).await.unwrap();
    assert_ne!(second, first, "it would expire on its way");
    assert_eq!(token(&process, &config, at(3_600)).await.unwrap(), second);
    assert_eq!((server.count("client_credentials"), server.count("refresh_token")), (2, 0));
    assert_eq!(server.token_requests()[0]["resource"], server.mcp_url());
}

#[tokio::test]
async fn processes_share_a_token_and_race_for_none() {
    let (server, folder) = (server_with_client().await, tempfile::tempdir().unwrap());
    let (one, other) = (process_with_file(folder.path()), process_with_file(folder.path()));
    let config = of_client(&server, CLIENT, SECRET);
    for round in 0..3 {
        let now = at(round * TWO_HOURS);
        let (of_one, of_other) = tokio::join!(token(&one, &config, now), token(&other, &config, now));
        assert_eq!(of_one.unwrap(), of_other.unwrap());
        assert_eq!(server.count("client_credentials"), usize::try_from(round).unwrap() + 1);
    }
}

#[tokio::test]
async fn a_wrong_secret_is_tried_once_for_all_who_wait_and_kept_as_nothing() {
    let (server, process) = (server_with_client().await, process(Arc::new(ProcessVault::default())));
    let wrong = of_client(&server, CLIENT, "a-wrong-secret");
    let attempts = (0..5).map(|_| token(&process, &wrong, at(0)));
    let refused: Vec<String> = futures::future::join_all(attempts)
        .await
        .into_iter()
        .map(|outcome| outcome.unwrap_err().to_string())
        .collect();
    assert!(refused.iter().all(|error| error.contains("invalid_client")), "{refused:?}");
    assert!(refused.iter().all(|error| !error.contains("a-wrong-secret")), "{refused:?}");
    // Each way of sending the secret is tried once.
    assert!(server.token_requests().len() <= 2, "{}", server.token_requests().len());
    assert!(token(&process, &of_client(&server, CLIENT, SECRET), at(0)).await.is_ok());
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_since_nothing_was_used_up() {
    let (server, process) = (server_with_client().await, process(Arc::new(ProcessVault::default())));
    let config = of_client(&server, CLIENT, SECRET);
    server.inject_fault(Fault::LoseAnswer);
    assert!(token(&process, &config, at(0)).await.is_err());
    assert!(token(&process, &config, at(0)).await.is_ok());
    server.inject_fault(Fault::LoseAnswer);
    let error = token(&process, &config, at(TWO_HOURS)).await.unwrap_err();
    assert_ne!(error.kind(), "needs_sign_in", "no user can help a client: {error}");
    assert!(token(&process, &config, at(TWO_HOURS)).await.is_ok());
}

#[tokio::test]
async fn a_server_that_takes_secrets_in_the_form_alone_is_sent_them_so_from_then_on() {
    let settings = Settings { takes_secrets_in_form_alone: true, ..Settings::default() };
    let server = AuthorizationServer::start(settings).await.unwrap();
    server.add_client(CLIENT, Some(SECRET));
    server.change(|settings| {
        settings.metadata.insert("token_endpoint_auth_methods_supported".into(), serde_json::Value::Null);
    });
    let process = process(Arc::new(ProcessVault::default()));
    let config = of_client(&server, CLIENT, SECRET);
    token(&process, &config, at(0)).await.unwrap();
    let first: Vec<bool> = in_form(&server);
    assert_eq!(first, [false, true], "as the metadata says, then otherwise");
    token(&process, &config, at(TWO_HOURS)).await.unwrap();
    assert_eq!(in_form(&server), [false, true, true]);
}

#[tokio::test]
async fn a_client_without_a_secret_has_nothing_to_sign_in_with() {
    let (server, process) = (server_with_client().await, process(Arc::new(ProcessVault::default())));
    let client = Some(ClientRegistration {
        client_id: CLIENT.to_owned(),
        authentication: ClientAuthentication::Public,
    });
    let config = OAuthConfig { client, ..of_client(&server, CLIENT, SECRET) };
    assert_eq!(token(&process, &config, at(0)).await.unwrap_err().kind(), "needs_sign_in");
    assert_eq!(server.token_requests().len(), 0);
}

/// Whether each token request had the secret in its form.
fn in_form(server: &AuthorizationServer) -> Vec<bool> {
    server.token_requests().iter().map(|form| form.contains_key("client_secret")).collect()
}
