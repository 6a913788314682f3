//! How a grant is renewed: once, by one process, and ended where nobody knows whether it was.

mod support;

use std::{sync::Arc, time::Duration};

use auth::{AuthConfig, GrantEndReason};
use support::{TWO_HOURS, at, bearer, ended, of_user, process, process_with_file, server, sign_in, token};
use test_support::authorization_server::{AuthorizationServer, Fault, Settings};
use tokio::{sync::Semaphore, time::timeout};
use vault::ProcessVault;

/// Long enough to see that something waits.
const A_MOMENT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_refresh_token_is_sent_once_by_two_racing_processes() {
    let (server, folder) = (server().await, tempfile::tempdir().unwrap());
    let (one, other) = (process_with_file(folder.path()), process_with_file(folder.path()));
    let config = of_user(&server);
    sign_in(&one, &server, &config, at(0)).await;
    for round in 1..=5 {
        let later = at(TWO_HOURS * i64::try_from(round).unwrap());
        let (of_one, of_other) = tokio::join!(token(&one, &config, later), token(&other, &config, later));
        assert_eq!(of_one.unwrap(), of_other.unwrap());
        assert_eq!(server.count("refresh_token"), round);
    }
}

#[tokio::test]
async fn who_does_not_hold_the_lease_waits_for_what_its_holder_writes() {
    let (server, folder) = (server().await, tempfile::tempdir().unwrap());
    let (winner, loser) = (process_with_file(folder.path()), process_with_file(folder.path()));
    let config = of_user(&server);
    sign_in(&winner, &server, &config, at(0)).await;
    let answers = Arc::new(Semaphore::new(0));
    server.inject_fault(Fault::Hold(answers.clone()));

    let of_winner = tokio::spawn({
        let config = config.clone();
        async move { token(&winner, &config, at(TWO_HOURS)).await }
    });
    server.wait_for("refresh_token", 1).await;
    let mut of_loser = Box::pin(token(&loser, &config, at(TWO_HOURS)));
    assert!(timeout(A_MOMENT, &mut of_loser).await.is_err(), "the loser does not wait");
    answers.add_permits(1);

    assert_eq!(of_loser.await.unwrap(), of_winner.await.unwrap().unwrap());
    assert_eq!(server.count("refresh_token"), 1);
}

#[tokio::test]
async fn an_exchange_is_seen_through_when_its_caller_is_cut_off() {
    let (server, store) = (server().await, Arc::new(ProcessVault::default()));
    let (first, second) = (process(store.clone()), process(store));
    let config = of_user(&server);
    sign_in(&first, &server, &config, at(0)).await;
    let answers = Arc::new(Semaphore::new(0));
    server.inject_fault(Fault::Hold(answers.clone()));

    let caller = tokio::spawn({
        let (first, config) = (first.clone(), config.clone());
        async move { token(&first, &config, at(TWO_HOURS)).await }
    });
    server.wait_for("refresh_token", 1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    let settled = first.oauth().settled();
    answers.add_permits(1);
    settled.await;

    assert_eq!(token(&second, &config, at(TWO_HOURS)).await.unwrap(), "access-3");
    assert_eq!(server.count("refresh_token"), 1);
}

#[tokio::test]
async fn a_lost_answer_ends_a_rotating_grant_and_nothing_is_sent_again() {
    for fault in [Fault::LoseAnswer, Fault::Garble] {
        let (server, store) = (server().await, Arc::new(ProcessVault::default()));
        let (first, second) = (process(store.clone()), process(store));
        let config = of_user(&server);
        sign_in(&first, &server, &config, at(0)).await;
        server.inject_fault(fault.clone());
        assert_eq!(ended(token(&first, &config, at(TWO_HOURS)).await), GrantEndReason::Lost, "{fault:?}");
        for process in [&first, &second] {
            assert_eq!(
                ended(token(process, &config, at(10 * TWO_HOURS)).await),
                GrantEndReason::Lost,
                "{fault:?}"
            );
        }
        assert_eq!(server.count("refresh_token"), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_lost_answer_leaves_a_grant_whose_refresh_token_is_good_for_more_than_one_use() {
    let server =
        AuthorizationServer::start(Settings { rotates: false, ..Settings::default() }).await.unwrap();
    let process = process(Arc::new(ProcessVault::default()));
    let config = of_user(&server);
    sign_in(&process, &server, &config, at(0)).await;
    // It is taken to rotate until a refresh shows otherwise.
    token(&process, &config, at(TWO_HOURS)).await.unwrap();
    server.inject_fault(Fault::LoseAnswer);
    let lost = token(&process, &config, at(2 * TWO_HOURS)).await.unwrap_err();
    assert_ne!(lost.kind(), "needs_sign_in", "{lost}");
    assert!(token(&process, &config, at(2 * TWO_HOURS)).await.is_ok());
}

#[tokio::test]
async fn invalid_grant_ends_the_grant() {
    let (server, store) = (server().await, Arc::new(ProcessVault::default()));
    let (first, second) = (process(store.clone()), process(store));
    let config = of_user(&server);
    sign_in(&first, &server, &config, at(0)).await;
    server.inject_fault(Fault::Refuse(400, "invalid_grant"));
    for process in [&first, &second] {
        let revoked = GrantEndReason::Revoked { description: None };
        assert_eq!(ended(token(process, &config, at(TWO_HOURS)).await), revoked);
    }
    assert_eq!(server.count("refresh_token"), 1);
    sign_in(&second, &server, &config, at(TWO_HOURS)).await;
    assert!(token(&first, &config, at(TWO_HOURS)).await.is_ok(), "another sign-in begins another grant");
}

#[tokio::test]
async fn a_server_that_cannot_answer_now_ends_nothing() {
    for (status, code) in [(400, "temporarily_unavailable"), (500, "server_error"), (503, "busy")] {
        let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
        let config = of_user(&server);
        sign_in(&process, &server, &config, at(0)).await;
        // It is asked up to three times where it says that it did nothing.
        for _ in 0..3 {
            server.inject_fault(Fault::Refuse(status, code));
        }
        let mut outcome = token(&process, &config, at(TWO_HOURS)).await;
        let mut refused = 0;
        while let Err(error) = outcome {
            assert_ne!(error.kind(), "needs_sign_in", "{code}: {error}");
            refused += 1;
            outcome = token(&process, &config, at(TWO_HOURS)).await;
        }
        assert!((1..=3).contains(&refused), "{code}: {refused}");
        assert_eq!(server.count("refresh_token"), 4, "{code}");
    }
}

#[tokio::test]
async fn another_refusal_is_tried_once_more_after_a_quarter_of_an_hour() {
    let (server, process) = (server().await, process(Arc::new(ProcessVault::default())));
    let config = of_user(&server);
    sign_in(&process, &server, &config, at(0)).await;
    server.inject_fault(Fault::Refuse(400, "no_idea"));
    for later in [0, 60, 899] {
        let refused = ended(token(&process, &config, at(TWO_HOURS + later)).await);
        assert!(matches!(refused, GrantEndReason::RefreshRefused { .. }), "{refused:?}");
    }
    assert_eq!(server.count("refresh_token"), 1);
    assert!(token(&process, &config, at(TWO_HOURS + 960)).await.is_ok());
}

#[test]
fn a_lease_that_lapsed_ends_the_grant() {
    let waits = tokio::runtime::Runtime::new().unwrap();
    let dies = tokio::runtime::Runtime::new().unwrap();
    let store = Arc::new(ProcessVault::default());
    let (server, config) = waits.block_on(async {
        let server = server().await;
        let config = of_user(&server);
        sign_in(&process(store.clone()), &server, &config, at(0)).await;
        server.inject_fault(Fault::Hold(Arc::new(Semaphore::new(0))));
        (server, config)
    });
    // A process that is killed between its request and its write: its runtime goes, with all of its tasks.
    let holder = process(store.clone());
    dies.spawn({
        let config = config.clone();
        async move { token(&holder, &config, at(TWO_HOURS)).await }
    });
    waits.block_on(server.wait_for("refresh_token", 1));
    dies.shutdown_background();

    waits.block_on(async {
        let waiting = process(store.clone());
        let held = timeout(A_MOMENT, token(&waiting, &config, at(TWO_HOURS + 29))).await;
        assert!(held.is_err(), "the lease lasts for 30 s, and is waited for");
        let lapsed = ended(token(&process(store.clone()), &config, at(TWO_HOURS + 40)).await);
        assert_eq!(lapsed, GrantEndReason::Lost);
        assert_eq!(server.count("refresh_token"), 1);
    });
}

#[tokio::test]
async fn nothing_is_sent_to_an_issuer_that_the_server_names_since() {
    let (server, new) = (server().await, server().await);
    let process = process(Arc::new(ProcessVault::default()));
    let config = of_user(&server);
    sign_in(&process, &server, &config, at(0)).await;
    server.change(|settings| settings.authorization_servers = Some(vec![new.issuer().to_owned()]));
    let changed =
        GrantEndReason::IssuerChanged { pinned: server.issuer().to_owned(), found: new.issuer().to_owned() };
    assert_eq!(ended(token(&process, &config, at(TWO_HOURS)).await), changed);
    assert_eq!((server.count("refresh_token"), new.token_requests().len()), (0, 0));

    server.change(|settings| settings.authorization_servers = None);
    assert!(token(&process, &config, at(TWO_HOURS)).await.is_ok(), "what was granted stays");
}

#[tokio::test]
async fn a_token_that_the_server_refuses_is_renewed_once_for_all_who_hold_it() {
    let (server, store) = (server().await, Arc::new(ProcessVault::default()));
    let (one, other) = (process(store.clone()), process(store));
    let config = of_user(&server);
    sign_in(&one, &server, &config, at(0)).await;
    let auth = AuthConfig::OAuth(Box::new(config));
    let refused = one.credential(&auth, at(10)).await.unwrap();
    let of_one = one.renewed(&auth, &refused, at(10)).await.unwrap();
    let of_other = other.renewed(&auth, &refused, at(10)).await.unwrap();
    assert!(!of_one.is_same(&refused));
    assert_eq!(bearer(&of_one), bearer(&of_other));
    assert_eq!(server.count("refresh_token"), 1);
}
