//! A stand-in for DynamoDB in the test's process. Tests can make it lose responses and refuse requests.
//!
//! It replaces the SDK's HTTP client and speaks DynamoDB's JSON protocol, so that the tests run this crate and the SDK
//! down to the HTTP request. [`expression`] evaluates conditions and updates. The end-to-end tests run the same code
//! against a local AWS.

// Each test file is a program of its own and uses only a part of this module.
#![allow(dead_code)]

mod expression;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig},
};
use aws_smithy_runtime_api::client::{
    http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn},
    orchestrator::{HttpRequest, HttpResponse},
    result::ConnectorError,
};
use aws_smithy_types::body::SdkBody;
use expression::{Expression, Item};
use jiff::{SignedDuration, Timestamp};
use jobs::{Claim, ClaimOutcome, Job, JobOwner, JobTable, Submission, SubmissionOutcome};
use serde_json::{Value, json};

/// The user whose jobs the tests use.
pub(crate) const ALICE: JobOwner<'static> = JobOwner { user_id: "alice", sub: Some("sub-1") };
/// The name of the index of unfinished jobs.
pub(crate) const INDEX: &str = "unfinished";
/// The lease of the claims in the tests.
pub(crate) const LEASE: Duration = Duration::from_secs(45);

/// A fault of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The operation is carried out, and the HTTP connection ends before the response.
    LoseResponse,
    /// The operation is not carried out, and the response is an error with this code.
    Refuse(&'static str),
}

#[derive(Default)]
struct State {
    items: BTreeMap<(String, String), Item>,
    /// The faults to come: the operation, a text that the request must contain, and the fault.
    faults: Vec<(&'static str, &'static str, Fault)>,
    requests: Vec<String>,
}

/// The stand-in for the table. Clones share its items.
#[derive(Clone, Default)]
pub(crate) struct Table(Arc<Mutex<State>>);

/// Returns the time this many seconds after the test began, which is at noon UTC.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let noon: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
    noon + SignedDuration::from_secs(seconds)
}

impl Table {
    /// Returns a job table of one process that uses this stand-in.
    pub(crate) fn jobs(&self) -> JobTable {
        let connector = SharedHttpConnector::new(self.clone());
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("id", "secret", None, None, "tests"))
            .retry_config(RetryConfig::standard().with_initial_backoff(Duration::from_millis(1)))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .build();
        JobTable::new(Client::from_conf(config), "jobs".to_owned())
    }

    /// Adds faults for the next requests of an operation, one fault for each request.
    pub(crate) fn add_faults(&self, operation: &'static str, faults: &[Fault]) {
        self.add_faults_with("", operation, faults);
    }

    /// Adds faults for the next requests of an operation that contain `text`.
    pub(crate) fn add_faults_with(&self, text: &'static str, operation: &'static str, faults: &[Fault]) {
        self.state().faults.extend(faults.iter().map(|fault| (operation, text, *fault)));
    }

    /// Returns the number of requests of an operation so far, those that the SDK repeated included.
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.state().requests.iter().filter(|request| *request == operation).count()
    }

    /// Returns an attribute of the item of one of Alice's jobs, as text.
    pub(crate) fn attribute(&self, job_id: &str, name: &str) -> Option<String> {
        let state = self.state();
        let item = state.items.get(&("agent#alice".to_owned(), job_id.to_owned()))?;
        let value = item.get(name)?;
        value["S"].as_str().or(value["N"].as_str()).map(str::to_owned)
    }

    /// Returns true if all faults have happened.
    pub(crate) fn no_faults_left(&self) -> bool {
        self.state().faults.is_empty()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

/// Submits a job as Alice.
pub(crate) async fn submit(jobs: &JobTable, job_id: &str, now: Timestamp) -> Job {
    let agent_ids = ["agent".to_owned()];
    let submission = Submission {
        owner: ALICE,
        org: "main",
        job_id,
        query: "What is new?",
        agent_ids: &agent_ids,
        idempotency_key: None,
        retention: SignedDuration::from_hours(24),
    };
    match jobs.submit(submission, now).await.unwrap() {
        SubmissionOutcome::New(job) => job,
        other => panic!("{other:?}"),
    }
}

/// Claims one of Alice's jobs, and panics if the claim is not won.
pub(crate) async fn claim(jobs: &JobTable, job_id: &str, now: Timestamp) -> Claim {
    match jobs.claim("alice", job_id, now, LEASE).await.unwrap() {
        ClaimOutcome::Won(claim, _) => claim,
        other => panic!("{other:?}"),
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Table")
    }
}

impl HttpConnector for Table {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let operation = request.headers().get("x-amz-target").and_then(|target| target.rsplit('.').next());
        let operation = operation.expect("an operation").to_owned();
        let body: Value = serde_json::from_slice(request.body().bytes().expect("a body")).expect("JSON");
        let text = body.to_string();
        let mut state = self.state();
        state.requests.push(operation.clone());
        let is_meant = |(of, with, _): &(&str, &str, Fault)| *of == operation && text.contains(with);
        let fault = state.faults.iter().position(is_meant);
        let fault = fault.map(|position| state.faults.remove(position).2);
        let answer = match fault {
            Some(Fault::Refuse(code)) => Err(error(code)),
            _ => state.answer(&operation, &body),
        };
        if fault == Some(Fault::LoseResponse) {
            let lost = ConnectorError::io("the HTTP connection ended before the response".into());
            return HttpConnectorFuture::ready(Err(lost));
        }
        let (status, body) = match answer {
            Ok(body) => (200, body),
            Err(body) => (400, body),
        };
        let answer = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body.to_string()));
        HttpConnectorFuture::ready(Ok(answer))
    }
}

fn error(code: &str) -> Value {
    json!({"__type": format!("com.amazonaws.dynamodb.v20120810#{code}"), "message": code})
}

fn key(keys: &Value) -> (String, String) {
    let text = |name: &str| keys[name]["S"].as_str().expect("a key").to_owned();
    (text("PK"), text("SK"))
}

impl State {
    fn answer(&mut self, operation: &str, request: &Value) -> Result<Value, Value> {
        match operation {
            "GetItem" => Ok(match self.items.get(&key(&request["Key"])) {
                Some(item) => json!({"Item": item}),
                None => json!({}),
            }),
            "UpdateItem" => self.update(request),
            "DeleteItem" => {
                self.items.remove(&key(&request["Key"]));
                Ok(json!({}))
            }
            "BatchGetItem" => {
                let (table, wanted) = request["RequestItems"].as_object().unwrap().iter().next().unwrap();
                let keys = wanted["Keys"].as_array().unwrap().iter().map(key);
                let items: Vec<&Item> = keys.filter_map(|key| self.items.get(&key)).collect();
                Ok(json!({"Responses": {table: items}}))
            }
            "Query" => Ok(self.query(request)),
            "TransactWriteItems" => self.write_together(request),
            other => panic!("the operation {other} is not known"),
        }
    }

    fn update(&mut self, request: &Value) -> Result<Value, Value> {
        let key = key(&request["Key"]);
        let mut item = self.items.get(&key).cloned().unwrap_or_default();
        if !holds(request, &item) {
            let mut refused = error("ConditionalCheckFailedException");
            if request["ReturnValuesOnConditionCheckFailure"] == "ALL_OLD" && !item.is_empty() {
                refused["Item"] = item.into();
            }
            return Err(refused);
        }
        if item.is_empty() {
            item = request["Key"].as_object().cloned().unwrap();
        }
        Expression::new(request["UpdateExpression"].as_str().unwrap(), request).update(&mut item);
        self.items.insert(key, item.clone());
        Ok(if request["ReturnValues"] == "ALL_NEW" { json!({"Attributes": item}) } else { json!({}) })
    }

    fn query(&self, request: &Value) -> Value {
        let condition = request["KeyConditionExpression"].as_str().unwrap();
        let is_found = |item: &&Item| Expression::new(condition, request).holds(item);
        let mut items: Vec<&Item> = self.items.values().filter(is_found).collect();
        if request["IndexName"] == INDEX {
            items.sort_by_key(|item| item["createdAt"]["S"].as_str().map(str::to_owned));
        }
        if request["ScanIndexForward"] == false {
            items.reverse();
        }
        items.truncate(request["Limit"].as_u64().map_or(usize::MAX, |limit| limit as usize));
        json!({"Count": items.len(), "Items": items})
    }

    fn write_together(&mut self, request: &Value) -> Result<Value, Value> {
        let writes = request["TransactItems"].as_array().unwrap();
        let checked = writes.iter().map(|write| {
            let (write, keys) = match (&write["Put"], &write["ConditionCheck"]) {
                (Value::Null, check) => (check, &check["Key"]),
                (put, _) => (put, &put["Item"]),
            };
            let item = self.items.get(&key(keys)).cloned().unwrap_or_default();
            if holds(write, &item) { "None" } else { "ConditionalCheckFailed" }
        });
        let reasons: Vec<Value> = checked.map(|code| json!({"Code": code})).collect();
        if reasons.iter().any(|reason| reason["Code"] != "None") {
            let mut cancelled = error("TransactionCanceledException");
            cancelled["CancellationReasons"] = reasons.into();
            return Err(cancelled);
        }
        for put in writes.iter().filter_map(|write| write["Put"]["Item"].as_object()) {
            self.items.insert(key(&put.clone().into()), put.clone());
        }
        Ok(json!({}))
    }
}

fn holds(request: &Value, item: &Item) -> bool {
    let condition = request["ConditionExpression"].as_str();
    condition.is_none_or(|condition| Expression::new(condition, request).holds(item))
}
