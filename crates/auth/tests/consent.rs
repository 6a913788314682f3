//! A user's way to a grant: the state is good once, for ten minutes, for its starter only.

mod support;

use std::sync::Arc;

use auth::{AuthError, Owner, Redirect, SignInNeeded, User};
use secrecy::ExposeSecret;
use support::{alice, at, kind, of_user, process, redirect, server, sign_in, start, token};
use vault::ProcessVault;

#[tokio::test]
async fn a_user_signs_in_and_gets_a_token_for_this_server() {
    let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
    let config = of_user(&server);
    let before = token(&process, &config, at(0)).await.unwrap_err();
    assert!(matches!(before, AuthError::NeedsSignIn(SignInNeeded::Never)), "{before:?}");
    sign_in(&process, &server, &config, at(0)).await;
    assert_eq!(token(&process, &config, at(0)).await.unwrap(), "access-2");
    let exchange = &server.token_requests()[0];
    assert_eq!(exchange["resource"], server.mcp_url());
    // The server itself compares the verifier with the challenge.
    assert!(exchange["code_verifier"].len() >= 43, "RFC 7636 §4.1");
    let standing = process.oauth().standing(&config, &Owner::User(alice())).await.unwrap();
    assert_eq!(standing.map(|(issuer, ..)| issuer).as_deref(), Some(server.issuer()));
}

#[tokio::test]
async fn a_state_is_good_once() {
    let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
    let (config, oauth) = (of_user(&server), process.oauth());
    let started = start(&process, &config, &alice(), at(0)).await.unwrap();
    let state = started.state.expose_secret();
    let came_back = redirect(&server.agree(&started.authorization_url).unwrap());
    oauth.callback(&came_back, at(1)).await.unwrap();
    assert_eq!(kind(oauth.callback(&came_back, at(1)).await), "state_mismatch", "a second redirect");

    let first = oauth.arrival(state, &alice(), at(2)).await.unwrap();
    let second = oauth.arrival(state, &alice(), at(2)).await.unwrap();
    oauth.complete(&config, first, at(2)).await.unwrap();
    assert_eq!(kind(oauth.complete(&config, second, at(2)).await), "state_mismatch", "a second completion");
    assert_eq!(server.count("authorization_code"), 1);
    assert_eq!(kind(oauth.callback(&came_back, at(3)).await), "state_mismatch", "a redirect after the end");
    assert_eq!(kind(oauth.arrival(state, &alice(), at(3)).await), "state_mismatch");
}

#[tokio::test]
async fn a_state_is_good_for_ten_minutes() {
    for (seconds, is_good) in [(599, true), (600, false), (601, false)] {
        let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
        let (config, oauth) = (of_user(&server), process.oauth());
        let started = start(&process, &config, &alice(), at(0)).await.unwrap();
        assert_eq!(started.expires, at(600));
        let came_back = redirect(&server.agree(&started.authorization_url).unwrap());
        let arrived = oauth.callback(&came_back, at(seconds)).await;
        assert_eq!(arrived.is_ok(), is_good, "a redirect after {seconds} s: {arrived:?}");
        // One that is over is over for those too whose clock is behind.
        let arrival = oauth.arrival(started.state.expose_secret(), &alice(), at(1)).await;
        assert_eq!(arrival.is_ok(), is_good, "an arrival after {seconds} s");
    }
}

#[tokio::test]
async fn a_parked_code_is_over_after_ten_minutes() {
    let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
    let (config, oauth) = (of_user(&server), process.oauth());
    let started = start(&process, &config, &alice(), at(0)).await.unwrap();
    let came_back = redirect(&server.agree(&started.authorization_url).unwrap());
    oauth.callback(&came_back, at(300)).await.unwrap();
    assert_eq!(kind(oauth.arrival(started.state.expose_secret(), &alice(), at(601)).await), "state_mismatch");
    assert_eq!(server.count("authorization_code"), 0);
}

#[tokio::test]
async fn a_state_is_good_for_its_starter_only() {
    let others = [
        User::named("mallory"),
        // Another person who was given the same name.
        User { sub: Some("sub-2".to_owned()), ..alice() },
    ];
    for other in others {
        let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
        let (config, oauth) = (of_user(&server), process.oauth());
        let started = start(&process, &config, &alice(), at(0)).await.unwrap();
        let state = started.state.expose_secret();
        let came_back = redirect(&server.agree(&started.authorization_url).unwrap());
        oauth.callback(&came_back, at(1)).await.unwrap();
        assert_eq!(kind(oauth.arrival(state, &other, at(2)).await), "other_user", "{other:?}");
        assert_eq!(
            kind(oauth.arrival(state, &alice(), at(3)).await),
            "state_mismatch",
            "it is used up: {other:?}"
        );
        assert_eq!(server.count("authorization_code"), 0, "{other:?}");
    }
}

#[tokio::test]
async fn another_person_of_the_same_name_does_not_get_the_tokens() {
    let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
    let config = of_user(&server);
    sign_in(&process, &server, &config, at(0)).await;
    let of = |sub: Option<&str>| {
        let user = User { sub: sub.map(str::to_owned), ..alice() };
        auth::OAuthConfig { owners: vec![auth::Owner::User(user), auth::Owner::Everybody], ..config.clone() }
    };
    let another = token(&process, &of(Some("sub-2")), at(1)).await.unwrap_err();
    assert!(matches!(another, AuthError::NeedsSignIn(SignInNeeded::Never)), "{another:?}");
    assert!(token(&process, &of(Some("sub-1")), at(1)).await.is_ok());
    assert!(token(&process, &of(None), at(1)).await.is_ok(), "whose sub is not known is known by the name");
}

#[tokio::test]
async fn a_redirect_must_name_its_issuer() {
    let others = [Some("http://127.0.0.1:9".to_owned()), None];
    for iss in others {
        let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
        let (config, oauth) = (of_user(&server), process.oauth());
        let started = start(&process, &config, &alice(), at(0)).await.unwrap();
        let came_back = redirect(&server.agree(&started.authorization_url).unwrap());
        let expected = if iss.is_some() { "iss_mismatch" } else { "iss_missing" };
        let from_another = Redirect { iss, ..came_back.clone() };
        assert_eq!(kind(oauth.callback(&from_another, at(1)).await), expected);
        assert_eq!(kind(oauth.callback(&came_back, at(1)).await), "state_mismatch", "it is used up");
        assert_eq!(server.token_requests().len(), 0);
    }
}

#[tokio::test]
async fn what_the_authorization_server_refuses_is_told_and_ends_the_sign_in() {
    let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
    let (config, oauth) = (of_user(&server), process.oauth());
    let started = start(&process, &config, &alice(), at(0)).await.unwrap();
    let state = started.state.expose_secret().to_owned();
    let refused = Redirect {
        state: Some(state.clone()),
        iss: Some(server.issuer().to_owned()),
        error: Some("access_denied".to_owned()),
        ..Redirect::default()
    };
    let error = oauth.callback(&refused, at(1)).await.unwrap_err();
    assert!(error.to_string().contains("access_denied"), "{error}");
    assert!(error.agent_id.is_some(), "the caller needs the entry's secrets to remove them from the text");
    assert_eq!(kind(oauth.arrival(&state, &alice(), at(1)).await), "state_mismatch");
}

#[tokio::test]
async fn a_state_that_nobody_was_given_is_none() {
    let process = process(Arc::new(ProcessVault::default()));
    let made_up =
        Redirect { state: Some("made-up".to_owned()), code: Some("code".into()), ..Redirect::default() };
    assert_eq!(kind(process.oauth().callback(&made_up, at(0)).await), "state_mismatch");
    assert_eq!(kind(process.oauth().callback(&Redirect::default(), at(0)).await), "state_mismatch");
    assert_eq!(kind(process.oauth().arrival("made-up", &alice(), at(0)).await), "state_mismatch");
}

#[tokio::test]
async fn a_user_who_is_not_back_has_nothing_to_complete() {
    let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
    let (config, oauth) = (of_user(&server), process.oauth());
    let started = start(&process, &config, &alice(), at(0)).await.unwrap();
    let state = started.state.expose_secret();
    assert_eq!(kind(oauth.arrival(state, &alice(), at(1)).await), "not_yet");
    let came_back = redirect(&server.agree(&started.authorization_url).unwrap());
    oauth.callback(&came_back, at(2)).await.unwrap();
    assert!(oauth.arrival(state, &alice(), at(3)).await.is_ok(), "to ask early uses nothing up");
}

#[tokio::test]
async fn an_entry_that_has_changed_meanwhile_gets_nothing() {
    let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
    let (config, oauth) = (of_user(&server), process.oauth());
    let started = start(&process, &config, &alice(), at(0)).await.unwrap();
    let came_back = redirect(&server.agree(&started.authorization_url).unwrap());
    oauth.callback(&came_back, at(1)).await.unwrap();
    let arrival = oauth.arrival(started.state.expose_secret(), &alice(), at(2)).await.unwrap();
    let changed = auth::OAuthConfig { audience: Some("another".to_owned()), ..config };
    assert_eq!(kind(oauth.complete(&changed, arrival, at(2)).await), "state_mismatch");
    assert_eq!(server.count("authorization_code"), 0);
}
