//! Tests of the sweep: unfinished jobs that no process runs any more are ended, or started again once.

mod support;

use jobs::{JobKey, JobStatus};
use support::{ALICE, Fault, INDEX, Table, at, claim, submit};

/// Seconds from a claim until the sweep may end the job: the lease of 45 s and five minutes.
const ABANDONED: i64 = 45 + 5 * 60;
const MINUTE: i64 = 60;

/// Returns the key of one of Alice's jobs.
fn alices(job_id: &str) -> JobKey {
    JobKey { user_id: "alice".to_owned(), job_id: job_id.to_owned() }
}

#[tokio::test]
async fn a_run_that_was_cut_off_is_ended_five_minutes_after_its_lease() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    claim(&jobs, "job", at(0)).await;
    assert_eq!(jobs.sweep(INDEX, at(ABANDONED)).await.unwrap().ended, 0);
    assert_eq!(jobs.sweep(INDEX, at(ABANDONED + 1)).await.unwrap().ended, 1);
    let job = jobs.get(ALICE, "job").await.unwrap().unwrap();
    assert_eq!(job.status, JobStatus::Failed);
    assert!(job.error.as_ref().unwrap().contains("cut off"), "{job:?}");
    assert_eq!(
        jobs.sweep(INDEX, at(ABANDONED + 2)).await.unwrap().ended,
        0,
        "the job is no longer in the index"
    );
}

#[tokio::test]
async fn a_job_whose_lease_was_renewed_is_not_changed() {
    let jobs = Table::default().jobs();
    submit(&jobs, "job", at(0)).await;
    let won = claim(&jobs, "job", at(0)).await;
    won.renew(at(ABANDONED)).await.unwrap();
    assert_eq!(jobs.sweep(INDEX, at(ABANDONED + 30)).await.unwrap().ended, 0);
    won.renew(at(ABANDONED + 30)).await.unwrap();
}

#[tokio::test]
async fn a_job_that_never_began_is_started_again_once_and_later_ended() {
    let jobs = Table::default().jobs();
    submit(&jobs, "job", at(0)).await;
    let early = jobs.sweep(INDEX, at(9 * MINUTE)).await.unwrap();
    assert_eq!((early.to_start.len(), early.ended), (0, 0));
    assert_eq!(early.oldest_pending.as_deref(), Some("2026-01-31T12:00:00.000000Z"));
    assert_eq!(jobs.sweep(INDEX, at(11 * MINUTE)).await.unwrap().to_start, [alices("job")]);
    assert_eq!(jobs.sweep(INDEX, at(16 * MINUTE)).await.unwrap().to_start, [], "one sweep starts the job");
    let started_at = 11 * MINUTE;
    assert_eq!(jobs.sweep(INDEX, at(started_at + 389 * MINUTE)).await.unwrap().ended, 0);
    assert_eq!(jobs.sweep(INDEX, at(started_at + 391 * MINUTE)).await.unwrap().ended, 1);
    let job = jobs.get(ALICE, "job").await.unwrap().unwrap();
    assert!(job.error.as_ref().unwrap().contains("never began"), "{job:?}");
}

#[tokio::test]
async fn a_job_is_started_again_if_the_response_to_its_note_is_lost() {
    let table = Table::default();
    let jobs = table.jobs();
    submit(&jobs, "job", at(0)).await;
    table.add_faults_with("SET startedAgainAt", "UpdateItem", &[Fault::LoseResponse]);
    let swept = jobs.sweep(INDEX, at(11 * MINUTE)).await.unwrap();
    assert!(table.no_faults_left());
    assert_eq!((swept.to_start, swept.failed), (vec![alices("job")], 0));
}

#[tokio::test]
async fn a_job_that_cannot_be_ended_does_not_stop_the_sweep() {
    let table = Table::default();
    let jobs = table.jobs();
    for job_id in ["a", "b", "c"] {
        submit(&jobs, job_id, at(0)).await;
        claim(&jobs, job_id, at(0)).await;
    }
    table.add_faults("UpdateItem", &[Fault::Refuse("AccessDeniedException")]);
    let swept = jobs.sweep(INDEX, at(ABANDONED + 1)).await.unwrap();
    assert_eq!((swept.ended, swept.failed), (2, 1));
    assert_eq!(jobs.sweep(INDEX, at(ABANDONED + 2)).await.unwrap().ended, 1, "the next sweep ends it");
}

#[tokio::test]
async fn an_abandoned_job_is_ended_when_it_is_read() {
    let jobs = Table::default().jobs();
    submit(&jobs, "job", at(0)).await;
    claim(&jobs, "job", at(0)).await;
    let running = jobs.get_ending_abandoned(ALICE, "job", at(ABANDONED - 1)).await.unwrap().unwrap();
    assert_eq!(running.status, JobStatus::Processing);
    let ended = jobs.get_ending_abandoned(ALICE, "job", at(ABANDONED + 1)).await.unwrap().unwrap();
    assert_eq!(ended.status, JobStatus::Failed);
}
