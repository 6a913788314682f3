//! Which client this is at an authorization server: one registration for all users, dropped where it is forgotten.

mod support;

use std::sync::Arc;

use auth::{ClientIdentity, GrantEndReason, OAuthConfig, Owner, Purpose, RegistrationChoice, User};
use jiff::Timestamp;
use serde_json::{Value, json};
use support::{
    REDIRECT_URI, TWO_HOURS, alice, at, ended, identity, kind, of_user, process, server, sign_in, start,
    token,
};
use test_support::authorization_server::{AuthorizationServer, Fault, Settings};
use url::Url;
use vault::ProcessVault;

fn client_of(url: &Url) -> String {
    url.query_pairs().find(|(name, _)| name == "client_id").map(|(_, id)| id.into_owned()).unwrap()
}

fn of(config: &OAuthConfig, user: &User) -> OAuthConfig {
    OAuthConfig { owners: vec![Owner::User(user.clone()), Owner::Everybody], ..config.clone() }
}

#[tokio::test]
async fn a_client_registers_once_for_all_users() {
    let (server, store) = (server().await, Arc::new(ProcessVault::default()));
    let config = of_user(&server);
    for name in ["alice", "bob", "carol"] {
        let user = User::named(name);
        sign_in(&process(store.clone()), &server, &of(&config, &user), at(0)).await;
    }
    let registrations = server.registrations();
    assert_eq!(registrations.len(), 1);
    assert_eq!(registrations[0]["redirect_uris"], json!([REDIRECT_URI]));
    assert_eq!(registrations[0]["grant_types"], json!(["authorization_code", "refresh_token"]));
    assert_eq!(registrations[0]["token_endpoint_auth_method"], "none");
}

#[tokio::test]
async fn a_client_that_the_server_has_forgotten_is_dropped_and_registered_anew() {
    let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
    let config = of_user(&server);
    sign_in(&process, &server, &config, at(0)).await;
    server.forget_clients();
    assert_eq!(ended(token(&process, &config, at(TWO_HOURS)).await), GrantEndReason::ClientForgotten);
    assert_eq!(server.count("refresh_token"), 1);
    // Another user, for whom nothing else says that the client is not known any more.
    let of_bob = of(&config, &User::named("bob"));
    sign_in(&process, &server, &of_bob, at(TWO_HOURS)).await;
    sign_in(&process, &server, &config, at(TWO_HOURS)).await;
    assert_eq!(server.registrations().len(), 2);
    for config in [&config, &of_bob] {
        assert!(token(&process, config, at(TWO_HOURS)).await.is_ok());
    }
}

#[tokio::test]
async fn a_client_that_is_forgotten_at_the_exchange_of_a_code_is_dropped() {
    let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
    let (config, oauth) = (of_user(&server), process.oauth());
    let started = start(&process, &config, &alice(), at(0)).await.unwrap();
    let came_back = support::redirect(&server.agree(&started.authorization_url).unwrap());
    oauth.callback(&came_back, at(1)).await.unwrap();
    server.inject_fault(Fault::Refuse(401, "invalid_client"));
    let state = came_back.state.unwrap();
    let ready_sign_in = oauth.ready_sign_in(&state, &alice(), at(1)).await.unwrap();
    assert!(oauth.complete(&config, ready_sign_in, at(1)).await.is_err());
    let bob = User::named("bob");
    start(&process, &of(&config, &bob), &bob, at(2)).await.unwrap();
    assert_eq!(server.registrations().len(), 2);
}

#[tokio::test]
async fn a_start_that_was_never_completed_is_followed_by_another_client() {
    let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
    let config = of_user(&server);
    let user = User::named("bob");
    let client = async |user: &User, now: Timestamp| {
        client_of(&start(&process, &of(&config, user), user, now).await.unwrap().authorization_url)
    };
    // The server shows an error page of its own: nobody comes back.
    let first = client(&alice(), at(0)).await;
    let second = client(&alice(), at(60)).await;
    assert_ne!(first, second);
    assert_eq!(
        client(&alice(), at(120)).await,
        second,
        "users also close pages: not again within ten minutes"
    );
    assert_eq!(client(&user, at(180)).await, second, "another user starts with what is kept");
    assert_ne!(client(&alice(), at(60 + 601)).await, second);
    assert_eq!(server.registrations().len(), 3);
}

#[tokio::test]
async fn what_does_not_work_is_registered_anew_when_that_is_asked_for() {
    let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
    let config = of_user(&server);
    sign_in(&process, &server, &config, at(0)).await;
    let owner = Owner::User(alice());
    let purpose = Purpose { agent_id: "agent", starter: &alice(), owner: &owner, origin: None };
    process.oauth().start(&config, purpose, &identity(), RegistrationChoice::New, at(1)).await.unwrap();
    assert_eq!(server.registrations().len(), 2);
}

#[tokio::test]
async fn a_published_client_is_used_where_the_server_takes_one() {
    let takes = json!({"client_id_metadata_document_supported": true});
    let metadata = takes.as_object().cloned().unwrap();
    let server = AuthorizationServer::start(Settings { metadata, ..Settings::default() }).await.unwrap();
    let process = process(Arc::new(ProcessVault::default()));
    let url = "https://agents.example/client-metadata.json";
    let published = ClientIdentity { metadata_url: Some(url.to_owned()), ..identity() };
    let owner = Owner::User(alice());
    let purpose = Purpose { agent_id: "agent", starter: &alice(), owner: &owner, origin: None };
    let config = of_user(&server);
    let started =
        process.oauth().start(&config, purpose, &published, RegistrationChoice::Stored, at(0)).await.unwrap();
    assert_eq!(client_of(&started.authorization_url), url);
    assert_eq!(server.registrations(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_registration_that_asks_for_too_much_asks_for_less() {
    let metadata = json!({"scopes_supported": ["tools", "offline_access"]}).as_object().cloned().unwrap();
    let refused_scopes = vec!["offline_access"];
    let settings = Settings { metadata, refused_scopes, ..Settings::default() };
    let server = AuthorizationServer::start(settings).await.unwrap();
    let process = process(Arc::new(ProcessVault::default()));
    let config = OAuthConfig { scopes: vec!["tools".into(), "offline_access".into()], ..of_user(&server) };
    start(&process, &config, &alice(), at(0)).await.unwrap();
    let asked: Vec<Value> =
        server.registrations().iter().map(|registration| registration["scope"].clone()).collect();
    assert_eq!(asked, [json!("tools offline_access"), json!("tools")]);
}

#[tokio::test]
async fn a_server_that_registers_nobody_needs_a_client_of_the_entry() {
    let server =
        AuthorizationServer::start(Settings { registers: false, ..Settings::default() }).await.unwrap();
    let process = process(Arc::new(ProcessVault::default()));
    let error = start(&process, &of_user(&server), &alice(), at(0)).await.unwrap_err();
    assert!(error.remedy().contains(REDIRECT_URI), "{}", error.remedy());
    assert_eq!(kind::<()>(Err(error)), "client_needed");
}
