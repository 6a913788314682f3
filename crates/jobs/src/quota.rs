//! Quotas: limit the unfinished jobs of a user, and the jobs that a user submits in a day.
//!
//! Each user has one quota item: `PK` `quota#{userId}`, `SK` the user's `sub`, `running` (ids of unfinished jobs), `day`
//! (`2026-01-31`, UTC), `jobs` (the number of jobs submitted on that day). One conditional update counts a job. The end
//! of a job does not change the item. Instead, when `running` is full, this reads which of its jobs have ended and
//! removes those. The jobs API calls this before it submits a job.

use std::collections::HashMap;

use aws_kit::{Item, number, number_of, text, text_of};
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, ReturnValuesOnConditionCheckFailure};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use uuid::Uuid;

use crate::{
    dynamodb::{JobTable, refused_item},
    error::JobError,
    items::{JobOwner, partition},
    job::JobStatus,
};

/// Time from the last submission until DynamoDB deletes the quota item: longer than a day, and than any job runs.
const ITEM_LIFETIME: SignedDuration = SignedDuration::from_hours(24 * 7);
/// Most attempts of an update that other submissions of the same user prevent.
const MAX_ATTEMPTS: usize = 8;
/// Longest time from a job's id being made until the job item is written: longer than a function of the API may run.
const MAX_SUBMISSION_TIME: SignedDuration = SignedDuration::from_secs(60);
/// DynamoDB's limit on the keys of one `BatchGetItem`.
const BATCH: usize = 100;

/// The limits of one user. 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Most jobs that have not ended.
    pub running: usize,
    /// Most jobs submitted on one day, UTC.
    pub a_day: u64,
}

/// The limit that a user has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaExceeded {
    /// This number of jobs has not ended.
    Running(usize),
    /// The limit of jobs per day is reached.
    Day {
        /// The limit.
        limit: u64,
        /// The beginning of the next day, UTC.
        until: Timestamp,
    },
}

/// The next step after an update of the quota item was refused.
#[derive(Debug, PartialEq, Eq)]
enum NextStep {
    /// Nothing: the job is already counted, and only the response was lost.
    Done,
    /// Refuse the job.
    Refuse(QuotaExceeded),
    /// Remove those of these jobs that have ended.
    ReleaseEnded(Vec<String>),
    /// Count the job on the item's day, or on a new day.
    Count { is_new_day: bool },
}

impl JobTable {
    /// Counts a job that the caller is about to submit. Returns the exceeded limit if the job must not be submitted.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn admit(
        &self,
        owner: JobOwner<'_>,
        job_id: &str,
        quota: Quota,
        now: Timestamp,
    ) -> Result<Option<QuotaExceeded>, JobError> {
        if quota.running == 0 && quota.a_day == 0 {
            return Ok(None);
        }
        let mut is_new_day = false;
        let mut is_released = false;
        for _ in 0..MAX_ATTEMPTS {
            let Some(item) = self.count(owner, job_id, quota, is_new_day, now).await? else {
                return Ok(None);
            };
            match next_step(&item, job_id, quota, is_released, now) {
                NextStep::Done => return Ok(None),
                NextStep::Refuse(exceeded) => return Ok(Some(exceeded)),
                NextStep::ReleaseEnded(ids) => {
                    self.release_ended(owner, &ids, now).await?;
                    is_released = true;
                }
                NextStep::Count { is_new_day: is_new } => is_new_day = is_new,
            }
        }
        let reason = "other submissions of the same user changed the quota item at the same time".to_owned();
        Err(JobError::Table { table: self.table.clone(), verb: "written", reason })
    }

    /// Counts a job. If the update is refused, returns the quota item as it is.
    async fn count(
        &self,
        owner: JobOwner<'_>,
        job_id: &str,
        quota: Quota,
        is_new_day: bool,
        now: Timestamp,
    ) -> Result<Option<Item>, JobError> {
        let (jobs, on_day) = match (is_new_day, quota.a_day) {
            (true, _) => (":one", "(attribute_not_exists(#day) OR #day <> :day)"),
            (false, 0) => ("jobs + :one", "#day = :day"),
            (false, _) => ("jobs + :one", "#day = :day AND jobs < :aDay"),
        };
        let room = match quota.running {
            0 => "",
            _ => " AND (attribute_not_exists(running) OR size(running) < :running)",
        };
        let mut update = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(owner)))
            .update_expression(format!(
                "SET #day = :day, jobs = {jobs}, ExpiresAfter = :expires ADD running :ids"
            ))
            .condition_expression(format!("{on_day} AND NOT contains(running, :id){room}"))
            .expression_attribute_names("#day", "day")
            .expression_attribute_values(":day", text(day(now)))
            .expression_attribute_values(":one", number(1))
            .expression_attribute_values(":expires", number((now + ITEM_LIFETIME).as_second()))
            .expression_attribute_values(":id", text(job_id))
            .expression_attribute_values(":ids", AttributeValue::Ss(vec![job_id.to_owned()]))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        if !is_new_day && quota.a_day > 0 {
            update = update.expression_attribute_values(":aDay", number(quota.a_day));
        }
        if quota.running > 0 {
            update = update.expression_attribute_values(":running", number(quota.running));
        }
        match update.send().await {
            Ok(_) => Ok(None),
            Err(error) => match refused_item(&error) {
                Some(item) => Ok(Some(item.cloned().unwrap_or_default())),
                None => Err(self.fault("written", error)),
            },
        }
    }

    /// Removes a job from the quota item, because it was deleted or not submitted after all.
    ///
    /// # Errors
    /// [`JobError::Table`].
    pub async fn release(&self, owner: JobOwner<'_>, job_id: &str) -> Result<(), JobError> {
        self.remove_from_running(owner, vec![job_id.to_owned()]).await
    }

    /// Removes those of a user's jobs from the quota item that have ended or no longer exist.
    async fn release_ended(
        &self,
        owner: JobOwner<'_>,
        ids: &[String],
        now: Timestamp,
    ) -> Result<(), JobError> {
        let mut ended = HashMap::new();
        for ids in ids.chunks(BATCH) {
            self.read_ended(owner, ids, &mut ended).await?;
        }
        // A job is counted before it is written. A new one that does not exist yet may be written in a moment.
        let is_over = |id: &&String| ended.get(*id).copied().unwrap_or_else(|| !is_new(id, now));
        let over: Vec<String> = ids.iter().filter(is_over).cloned().collect();
        if over.is_empty() { Ok(()) } else { self.remove_from_running(owner, over).await }
    }

    async fn remove_from_running(&self, owner: JobOwner<'_>, ids: Vec<String>) -> Result<(), JobError> {
        let removed = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(key(owner)))
            .update_expression("DELETE running :ids")
            .condition_expression("attribute_exists(PK)")
            .expression_attribute_values(":ids", AttributeValue::Ss(ids))
            .send()
            .await;
        match removed {
            Err(error) if !aws_kit::is_condition_failed(&error) => Err(self.fault("written", error)),
            _ => Ok(()),
        }
    }

    /// Reads the user's jobs with these ids. Adds each that exists to `ended`, with true if it has ended.
    async fn read_ended(
        &self,
        owner: JobOwner<'_>,
        ids: &[String],
        ended: &mut HashMap<String, bool>,
    ) -> Result<(), JobError> {
        let keys_of = |id: &String| {
            HashMap::from([("PK".to_owned(), partition(owner.user_id)), ("SK".to_owned(), text(id))])
        };
        let mut keys: Vec<Item> = ids.iter().map(keys_of).collect();
        while !keys.is_empty() {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .projection_expression("SK, #status")
                .expression_attribute_names("#status", "status")
                .build();
            let failed = |reason| JobError::Table { table: self.table.clone(), verb: "read", reason };
            let wanted = wanted.map_err(|error| failed(error.to_string()))?;
            let answer = self.client.batch_get_item().request_items(&self.table, wanted).send().await;
            let answer = answer.map_err(|error| self.fault("read", error))?;
            let items = answer.responses.into_iter().flatten().flat_map(|(_, items)| items);
            ended.extend(items.filter_map(|item| Some((text_of(&item, "SK")?, has_ended(&item)))));
            // The keys of the items that did not fit into one response (16 MB).
            let left = answer.unprocessed_keys.and_then(|mut left| left.remove(&self.table));
            keys = left.map(|left| left.keys).unwrap_or_default();
        }
        Ok(())
    }
}

/// Decides the next step after `item` refused to count a job. `is_released` is true if ended jobs have been removed
/// from it during this submission.
fn next_step(item: &Item, job_id: &str, quota: Quota, is_released: bool, now: Timestamp) -> NextStep {
    let running = match item.get("running") {
        Some(AttributeValue::Ss(ids)) => ids.clone(),
        _ => Vec::new(),
    };
    if running.iter().any(|id| id == job_id) {
        return NextStep::Done;
    }
    let is_new_day = text_of(item, "day").as_deref() != Some(day(now).as_str());
    let jobs: u64 = number_of(item, "jobs").unwrap_or_default();
    if quota.a_day > 0 && !is_new_day && jobs >= quota.a_day {
        return NextStep::Refuse(QuotaExceeded::Day { limit: quota.a_day, until: next_day(now) });
    }
    if quota.running > 0 && running.len() >= quota.running {
        return match is_released {
            true => NextStep::Refuse(QuotaExceeded::Running(quota.running)),
            false => NextStep::ReleaseEnded(running),
        };
    }
    NextStep::Count { is_new_day }
}

fn has_ended(item: &Item) -> bool {
    let status = JobStatus::parse(&text_of(item, "status").unwrap_or_default());
    matches!(status, JobStatus::Completed | JobStatus::Failed)
}

/// Returns true if a job's id, a UUIDv7, is so new that the job may still be written.
fn is_new(job_id: &str, now: Timestamp) -> bool {
    let made = Uuid::parse_str(job_id).ok().and_then(|id| id.get_timestamp());
    let made = made.and_then(|made| i64::try_from(made.to_unix().0).ok());
    made.is_some_and(|made| now.as_second() - made < MAX_SUBMISSION_TIME.as_secs())
}

fn key(owner: JobOwner<'_>) -> Item {
    HashMap::from([
        ("PK".to_owned(), text(format!("quota#{}", owner.user_id))),
        ("SK".to_owned(), text(owner.sub.unwrap_or("none"))),
    ])
}

fn day(now: Timestamp) -> String {
    now.strftime("%Y-%m-%d").to_string()
}

fn next_day(now: Timestamp) -> Timestamp {
    let tomorrow = now.to_zoned(TimeZone::UTC).tomorrow().and_then(|day| day.start_of_day());
    tomorrow.map_or(Timestamp::MAX, |day| day.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUOTA: Quota = Quota { running: 2, a_day: 5 };

    fn check(item: &[(&str, AttributeValue)], is_released: bool, expected: NextStep) {
        let item = item.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let now = "2026-01-31T23:30:00Z".parse().unwrap();
        assert_eq!(next_step(&item, "new", QUOTA, is_released, now), expected, "{item:?}");
    }

    #[test]
    fn a_job_may_still_be_written_for_a_minute() {
        let made = uuid::Timestamp::from_unix(uuid::NoContext, 1_800_000_000, 0);
        let id = Uuid::new_v7(made).to_string();
        let at = |second| Timestamp::from_second(second).unwrap();
        assert!(is_new(&id, at(1_800_000_059)));
        assert!(!is_new(&id, at(1_800_000_060)));
        assert!(!is_new("an id of another kind", at(0)));
    }

    #[test]
    fn a_refused_count_is_repeated_in_another_way_or_is_final() {
        let ids = |ids: &[&str]| AttributeValue::Ss(ids.iter().map(|&id| id.to_owned()).collect());
        let today = || ("day", text("2026-01-31"));
        check(&[], false, NextStep::Count { is_new_day: true });
        check(
            &[("day", text("2026-01-30")), ("jobs", number(5))],
            false,
            NextStep::Count { is_new_day: true },
        );
        check(&[today(), ("jobs", number(4))], false, NextStep::Count { is_new_day: false });
        let full = QuotaExceeded::Day { limit: 5, until: "2026-02-01T00:00:00Z".parse().unwrap() };
        check(&[today(), ("jobs", number(5))], false, NextStep::Refuse(full));
        check(&[today(), ("jobs", number(5)), ("running", ids(&["new"]))], false, NextStep::Done);
        let two = || ("running", ids(&["a", "b"]));
        check(
            &[today(), ("jobs", number(2)), two()],
            false,
            NextStep::ReleaseEnded(vec!["a".into(), "b".into()]),
        );
        check(&[today(), ("jobs", number(2)), two()], true, NextStep::Refuse(QuotaExceeded::Running(2)));
    }
}
