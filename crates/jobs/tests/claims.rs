//! Tests of claims: one of several wins, a claim is lost to the next one, and a lost response does not lose the claim.

mod support;

use jobs::{ClaimOutcome, EarlierRun, JobError, JobStatus, RunOutcome};
use serde_json::json;
use support::{ALICE, Fault, LEASE, Table, at, claim, submit};

#[tokio::test]
async fn one_of_two_claims_wins() {
    let (table, other_process) = (Table::default(), Table::jobs);
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    let won = claim(&jobs, "job", at(0)).await;
    assert_eq!(won.job().status, JobStatus::Processing);
    match other_process(&table).claim("alice", "job", at(1), LEASE).await.unwrap() {
        ClaimOutcome::Busy(job) => assert_eq!(job.status, JobStatus::Processing),
        other => panic!("{other:?}"),
    }
    assert_eq!(table.attribute("job", "attempt").as_deref(), Some("1"));
    assert!(matches!(jobs.claim("alice", "none", at(1), LEASE).await.unwrap(), ClaimOutcome::Missing));
    assert!(matches!(jobs.claim("bob", "job", at(1), LEASE).await.unwrap(), ClaimOutcome::Missing));
}

#[tokio::test]
async fn a_claim_whose_response_is_lost_is_won() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    table.add_faults("UpdateItem", &[Fault::LoseResponse]);
    let won = claim(&jobs, "job", at(0)).await;
    assert!(table.no_faults_left());
    assert_eq!(table.count("UpdateItem"), 2, "the SDK has sent it again");
    assert_eq!(table.attribute("job", "attempt").as_deref(), Some("1"), "it was claimed once");
    won.end_without_transcript(RunOutcome::Completed("{}"), at(1)).await.unwrap();
}

#[tokio::test]
async fn after_a_claim_whose_responses_are_all_lost_the_job_is_read() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    let every_attempt = [Fault::LoseResponse; 3];
    table.add_faults("UpdateItem", &every_attempt);
    claim(&jobs, "job", at(0)).await;
    assert!(table.no_faults_left());
    assert_eq!(table.count("GetItem"), 1);
}

#[tokio::test]
async fn a_claim_that_dynamodb_refused_is_not_won() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    table.add_faults("UpdateItem", &[Fault::Refuse("ProvisionedThroughputExceededException"); 3]);
    let failed = jobs.claim("alice", "job", at(0), LEASE).await;
    assert!(matches!(failed, Err(JobError::Table { .. })), "{failed:?}");
    claim(&jobs, "job", at(1)).await;
}

#[tokio::test]
async fn a_job_is_claimed_again_after_its_lease_and_the_first_run_writes_nothing() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    let first = claim(&jobs, "job", at(0)).await;
    first.renew(at(15)).await.unwrap();
    let held = jobs.claim("alice", "job", at(50), LEASE).await.unwrap();
    assert!(matches!(held, ClaimOutcome::Busy(_)), "renewed at 15 s, it is held until 60 s: {held:?}");
    let second = claim(&jobs, "job", at(61)).await;
    assert_eq!(table.attribute("job", "attempt").as_deref(), Some("2"));

    let lost =
        |outcome: Result<(), JobError>| assert!(matches!(outcome, Err(JobError::Lost { .. })), "{outcome:?}");
    lost(first.renew(at(62)).await);
    lost(first.record(&[json!({"text": "from the first run"})]).await);
    lost(first.note_effect("delete").await);
    lost(first.end(RunOutcome::Completed("{}"), &[], &json!({}), at(62)).await);
    assert_eq!(table.attribute("job", "status").as_deref(), Some("PROCESSING"));
    assert_eq!(table.attribute("job", "agent_messages"), None);
    second.end(RunOutcome::Completed(r#"{"n":2}"#), &[], &json!({}), at(63)).await.unwrap();
    let job = jobs.get(ALICE, "job").await.unwrap().unwrap();
    assert_eq!((job.status, job.result.as_deref()), (JobStatus::Completed, Some(r#"{"n":2}"#)));
    let after = jobs.claim("alice", "job", at(1_000), LEASE).await.unwrap();
    assert!(matches!(after, ClaimOutcome::Busy(_)), "a job that has ended is not claimed again: {after:?}");
}

#[tokio::test]
async fn a_lease_far_in_the_future_counts_as_expired() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    let year = 365 * 24 * 3_600;
    claim(&jobs, "job", at(year)).await;
    claim(&jobs, "job", at(1)).await;
    assert_eq!(table.attribute("job", "attempt").as_deref(), Some("2"));
}

#[tokio::test]
async fn the_next_claim_has_the_effect_note_of_the_earlier_run() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    claim(&jobs, "job", at(0)).await.note_effect("delete_note").await.unwrap();
    match jobs.claim("alice", "job", at(60), LEASE).await.unwrap() {
        ClaimOutcome::Won(_, earlier) => {
            assert_eq!(earlier, EarlierRun::MayHaveHadEffect { tool: "delete_note".to_owned() });
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_end_whose_response_is_lost_is_written() {
    for lost in 1..=3 {
        let table = Table::default();
        let jobs = table.jobs();
        submit(&jobs, "job", at(0)).await;
        let won = claim(&jobs, "job", at(0)).await;
        table.add_faults("UpdateItem", &vec![Fault::LoseResponse; lost]);
        let messages = [json!({"role": "user", "content": [{"text": "hello"}]})];
        won.end(RunOutcome::Completed("{}"), &messages, &json!({"turns": 1}), at(1)).await.unwrap();
        assert!(table.no_faults_left(), "{lost}");
        assert_eq!(table.attribute("job", "status").as_deref(), Some("COMPLETED"), "{lost}");
    }
}

#[tokio::test]
async fn an_end_that_another_run_wrote_is_not_taken_for_an_own_one() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    let first = claim(&jobs, "job", at(0)).await;
    let second = claim(&jobs, "job", at(60)).await;
    second.end(RunOutcome::Completed("{}"), &[], &json!({}), at(61)).await.unwrap();
    let lost = first.end(RunOutcome::Completed("{}"), &[], &json!({}), at(61)).await;
    assert!(matches!(lost, Err(JobError::Lost { .. })), "the same result, but of another attempt: {lost:?}");
}

#[tokio::test]
async fn a_deleted_job_stays_deleted() {
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
async fn a_transcript_that_is_too_long_is_stored_whole_in_items_of_its_own() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    let won = claim(&jobs, "job", at(0)).await;
    let messages: Vec<_> = (0..60).map(|n| json!({"n": n, "text": "x".repeat(10_000)})).collect();
    won.end(RunOutcome::Completed("{}"), &messages, &json!({}), at(1)).await.unwrap();
    let job = jobs.get(ALICE, "job").await.unwrap().unwrap();
    assert!(job.agent_messages.as_ref().unwrap().contains("elided"));
    assert_eq!(jobs.stored_transcript(&job).await.unwrap().unwrap(), messages);
}

#[test]
fn a_claim_is_held_until_a_tenth_of_the_lease_before_its_end() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let jobs = Table::default().jobs();
        submit(&jobs, "job", at(0)).await;
        let won = claim(&jobs, "job", at(0)).await;
        assert!(won.check_held(at(40)).is_ok());
        assert!(
            matches!(won.check_held(at(41)), Err(JobError::Lapsed { .. })),
            "a tenth of the lease is for differing clocks"
        );
        won.renew(at(41)).await.unwrap();
        assert!(won.check_held(at(80)).is_ok());
    });
}
