//! The right to write to one job: won by one, lost once it is another's, known again where an answer was lost.

mod support;

use jobs::{Claimed, Earlier, JobError, JobStatus, Outcome};
use serde_json::json;
use support::{ALICE, Fault, LEASE, Table, at, claim, submit};

#[tokio::test]
async fn of_two_claims_one_wins() {
    let (table, other_process) = (Table::default(), Table::jobs);
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    let won = claim(&jobs, "job", at(0)).await;
    assert_eq!(won.job().status, JobStatus::Processing);
    match other_process(&table).claim("alice", "job", at(1), LEASE).await.unwrap() {
        Claimed::Busy(job) => assert_eq!(job.status, JobStatus::Processing),
        other => panic!("{other:?}"),
    }
    assert_eq!(table.attribute("job", "attempt").as_deref(), Some("1"));
    assert!(matches!(jobs.claim("alice", "none", at(1), LEASE).await.unwrap(), Claimed::Missing));
    assert!(matches!(jobs.claim("bob", "job", at(1), LEASE).await.unwrap(), Claimed::Missing));
}

#[tokio::test]
async fn a_claim_whose_answer_is_lost_is_known_again() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    table.spoil("UpdateItem", &[Fault::LoseAnswer]);
    let won = claim(&jobs, "job", at(0)).await;
    assert!(table.is_unspoilt());
    assert_eq!(table.count("UpdateItem"), 2, "the SDK has sent it again");
    assert_eq!(table.attribute("job", "attempt").as_deref(), Some("1"), "it was claimed once");
    won.end_as_it_is(Outcome::Completed("{}"), at(1)).await.unwrap();
}

#[tokio::test]
async fn a_claim_whose_answers_are_all_lost_is_looked_up() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    let every_try = [Fault::LoseAnswer; 3];
    table.spoil("UpdateItem", &every_try);
    claim(&jobs, "job", at(0)).await;
    assert!(table.is_unspoilt());
    assert_eq!(table.count("GetItem"), 1);
}

#[tokio::test]
async fn a_claim_that_was_never_made_is_no_claim() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    table.spoil("UpdateItem", &[Fault::Refuse("ProvisionedThroughputExceededException"); 3]);
    let failed = jobs.claim("alice", "job", at(0), LEASE).await;
    assert!(matches!(failed, Err(JobError::Table { .. })), "{failed:?}");
    claim(&jobs, "job", at(1)).await;
}

#[tokio::test]
async fn a_job_is_taken_over_when_its_lease_has_run_out_and_its_first_run_writes_nothing() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    let first = claim(&jobs, "job", at(0)).await;
    first.renew(at(15)).await.unwrap();
    let held = jobs.claim("alice", "job", at(50), LEASE).await.unwrap();
    assert!(matches!(held, Claimed::Busy(_)), "renewed at 15 s, it is held until 60 s: {held:?}");
    let second = claim(&jobs, "job", at(61)).await;
    assert_eq!(table.attribute("job", "attempt").as_deref(), Some("2"));

    let lost =
        |outcome: Result<(), JobError>| assert!(matches!(outcome, Err(JobError::Lost { .. })), "{outcome:?}");
    lost(first.renew(at(62)).await);
    lost(first.record(&[json!({"text": "from the first run"})]).await);
    lost(first.note_effect("delete").await);
    lost(first.end(Outcome::Completed("{}"), &[], &json!({}), at(62)).await);
    assert_eq!(table.attribute("job", "status").as_deref(), Some("PROCESSING"));
    assert_eq!(table.attribute("job", "agent_messages"), None);
    second.end(Outcome::Completed(r#"{"n":2}"#), &[], &json!({}), at(63)).await.unwrap();
    let job = jobs.get(ALICE, "job").await.unwrap().unwrap();
    assert_eq!((job.status, job.result.as_deref()), (JobStatus::Completed, Some(r#"{"n":2}"#)));
    let after = jobs.claim("alice", "job", at(1_000), LEASE).await.unwrap();
    assert!(matches!(after, Claimed::Busy(_)), "what has ended is not run again: {after:?}");
}

#[tokio::test]
async fn a_lease_that_no_clock_can_have_written_is_over() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    let year = 365 * 24 * 3_600;
    claim(&jobs, "job", at(year)).await;
    claim(&jobs, "job", at(1)).await;
    assert_eq!(table.attribute("job", "attempt").as_deref(), Some("2"));
}

#[tokio::test]
async fn who_takes_a_job_over_is_told_that_it_may_have_changed_something() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    claim(&jobs, "job", at(0)).await.note_effect("delete_note").await.unwrap();
    match jobs.claim("alice", "job", at(60), LEASE).await.unwrap() {
        Claimed::Won(_, earlier) => {
            assert_eq!(earlier, Earlier::MayHaveHadEffect { tool: "delete_note".to_owned() });
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_end_whose_answer_is_lost_was_made() {
    for lost in 1..=3 {
        let table = Table::default();
        let jobs = table.jobs();
        submit(&jobs, "job", at(0)).await;
        let won = claim(&jobs, "job", at(0)).await;
        table.spoil("UpdateItem", &vec![Fault::LoseAnswer; lost]);
        let messages = [json!({"role": "user", "content": [{"text": "hello"}]})];
        won.end(Outcome::Completed("{}"), &messages, &json!({"turns": 1}), at(1)).await.unwrap();
        assert!(table.is_unspoilt(), "{lost}");
        assert_eq!(table.attribute("job", "status").as_deref(), Some("COMPLETED"), "{lost}");
    }
}

#[tokio::test]
async fn an_end_of_another_run_is_not_taken_for_ones_own() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    let first = claim(&jobs, "job", at(0)).await;
    let second = claim(&jobs, "job", at(60)).await;
    second.end(Outcome::Completed("{}"), &[], &json!({}), at(61)).await.unwrap();
    let lost = first.end(Outcome::Completed("{}"), &[], &json!({}), at(61)).await;
    assert!(matches!(lost, Err(JobError::Lost { .. })), "the same words, but not its own: {lost:?}");
}

#[tokio::test]
async fn what_was_deleted_stays_deleted() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    let won = claim(&jobs, "job", at(0)).await;
    assert!(jobs.delete(ALICE, "job").await.unwrap());
    let lost = won.record(&[json!({"text": "late"})]).await;
    assert!(matches!(lost, Err(JobError::Lost { .. })), "{lost:?}");
    assert!(jobs.get(ALICE, "job").await.unwrap().is_none());
}

#[tokio::test]
async fn a_transcript_that_is_too_long_is_kept_whole_beside_its_job() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    let won = claim(&jobs, "job", at(0)).await;
    let messages: Vec<_> = (0..60).map(|n| json!({"n": n, "text": "x".repeat(10_000)})).collect();
    won.end(Outcome::Completed("{}"), &messages, &json!({}), at(1)).await.unwrap();
    let job = jobs.get(ALICE, "job").await.unwrap().unwrap();
    assert!(job.agent_messages.as_ref().unwrap().contains("elided"));
    assert_eq!(jobs.kept_transcript(&job).await.unwrap().unwrap(), messages);
}

#[test]
fn a_claim_knows_for_how_long_it_is_held() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let jobs = Table::default().jobs();
        submit(&jobs, "job", at(0)).await;
        let won = claim(&jobs, "job", at(0)).await;
        assert!(won.check_held(at(40)).is_ok());
        assert!(
            matches!(won.check_held(at(41)), Err(JobError::Lapsed { .. })),
            "a tenth is for clocks that differ"
        );
        won.renew(at(41)).await.unwrap();
        assert!(won.check_held(at(80)).is_ok());
    });
}
