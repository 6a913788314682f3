//! Tests of quotas: the limit of unfinished jobs and the limit of jobs per day.

mod support;

use jiff::Timestamp;
use jobs::{JobOwner, JobTable, Quota, QuotaExceeded, RunOutcome};
use serde_json::json;
use support::{ALICE, Fault, Table, at, claim, submit};

const QUOTA: Quota = Quota { running: 2, a_day: 4 };
/// Seconds from noon, when the tests begin, to midnight.
const HALF_A_DAY: i64 = 12 * 3_600;

/// Counts a job, and submits it if no limit is exceeded.
async fn admit(jobs: &JobTable, job_id: &str, now: Timestamp) -> Option<QuotaExceeded> {
    let refused = jobs.admit(ALICE, job_id, QUOTA, now).await.unwrap();
    if refused.is_none() {
        submit(jobs, job_id, now).await;
    }
    refused
}

async fn end(jobs: &JobTable, job_id: &str, now: Timestamp) {
    claim(jobs, job_id, now).await.end(RunOutcome::Completed("{}"), &[], &json!({}), now).await.unwrap();
}

#[tokio::test]
async fn unfinished_jobs_are_limited() {
    let jobs = Table::default().jobs();
    assert_eq!(admit(&jobs, "a", at(0)).await, None);
    assert_eq!(admit(&jobs, "b", at(1)).await, None);
    assert_eq!(admit(&jobs, "c", at(2)).await, Some(QuotaExceeded::Running(2)));
    end(&jobs, "a", at(3)).await;
    assert_eq!(admit(&jobs, "c", at(4)).await, None, "a job that has ended does not count");
    assert_eq!(admit(&jobs, "d", at(5)).await, Some(QuotaExceeded::Running(2)));
    assert!(jobs.delete(ALICE, "b").await.unwrap());
    assert_eq!(admit(&jobs, "d", at(6)).await, None, "a deleted job does not count");
}

#[tokio::test]
async fn jobs_per_day_are_limited() {
    let jobs = Table::default().jobs();
    for job_id in ["a", "b", "c", "d"] {
        assert_eq!(admit(&jobs, job_id, at(0)).await, None);
        end(&jobs, job_id, at(1)).await;
    }
    let midnight = at(HALF_A_DAY);
    let full = QuotaExceeded::Day { limit: 4, until: midnight };
    assert_eq!(admit(&jobs, "e", at(2)).await, Some(full));
    assert_eq!(admit(&jobs, "e", at(HALF_A_DAY - 1)).await, Some(full));
    assert_eq!(admit(&jobs, "e", midnight).await, None);
}

#[tokio::test]
async fn a_job_whose_response_is_lost_counts_once() {
    let table = Table::default();
    let jobs = table.jobs();
    for job_id in ["a", "b", "c", "d"] {
        table.add_faults("UpdateItem", &[Fault::LoseResponse]);
        assert_eq!(admit(&jobs, job_id, at(0)).await, None, "{job_id}");
        assert!(table.no_faults_left());
        end(&jobs, job_id, at(1)).await;
    }
    assert!(matches!(admit(&jobs, "e", at(2)).await, Some(QuotaExceeded::Day { limit: 4, .. })));
}

#[tokio::test]
async fn another_person_of_the_same_name_has_a_separate_quota() {
    let jobs = Table::default().jobs();
    for job_id in ["a", "b"] {
        assert_eq!(admit(&jobs, job_id, at(0)).await, None);
    }
    let another = JobOwner { sub: Some("sub-2"), ..ALICE };
    assert_eq!(jobs.admit(another, "c", QUOTA, at(0)).await.unwrap(), None);
    assert_eq!(jobs.admit(ALICE, "c", QUOTA, at(0)).await.unwrap(), Some(QuotaExceeded::Running(2)));
}

#[tokio::test]
async fn without_a_quota_nothing_is_counted() {
    let table = Table::default();
    let none = Quota { running: 0, a_day: 0 };
    assert_eq!(table.jobs().admit(ALICE, "a", none, at(0)).await.unwrap(), None);
    assert_eq!(table.count("UpdateItem"), 0);
}
