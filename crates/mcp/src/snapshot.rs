//! Snapshots of tool lists in DynamoDB (the catalog table), shared by all processes.
//!
//! One item per server and credential identity: `PK` `tools#{key}`, `tools` (the MCP tool objects,
//! gzipped JSON), `fetchedAt` (milliseconds since the epoch), `ExpiresAfter` (seconds). Holds no
//! credential and no URL. Decides nothing about freshness: [`crate::ToolCache`], its only caller, does.
//! A snapshot only saves a request: one that cannot be read or written is logged and ignored.

use std::{collections::HashMap, time::Duration};

use aws_kit::{Item, bytes_of, number, number_of, text, text_of};
use aws_sdk_dynamodb::{
    Client,
    primitives::Blob,
    types::{AttributeValue, KeysAndAttributes},
};
use jiff::{SignedDuration, Timestamp};

use crate::{server::ServerKey, tool_names::ToolNames};

/// Time for which a list counts as the last good one, from when it was fetched. A server that has failed for longer
/// than a week is unlikely to come back with the same tools.
pub(crate) const RETENTION: SignedDuration = SignedDuration::from_hours(7 * 24);
/// DynamoDB's limit on the keys of one `BatchGetItem`.
const BATCH: usize = 100;
/// Maximum size of a packed list in the table, in bytes. DynamoDB's limit on an item is 400 KB. A larger list is cached
/// in this process alone.
const MAX_ITEM_BYTES: usize = 390_000;
/// Time limit for a read or a write. The caller goes on without it: a snapshot only saves a request.
const DEADLINE: Duration = Duration::from_secs(2);

/// The tool names in a snapshot, and when the list was fetched from the server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) tools: ToolNames,
    pub(crate) fetched_at: Timestamp,
}

/// The catalog table in DynamoDB. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SnapshotStore {
    client: Client,
    table: String,
}

impl SnapshotStore {
    /// Creates a store over `table`, whose partition key is `PK`.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// Reads the snapshots of `keys`; keys without one are absent from the result. One read per hundred keys.
    pub(crate) async fn load(&self, keys: &[ServerKey]) -> HashMap<ServerKey, Snapshot> {
        let mut found = HashMap::new();
        for batch in keys.chunks(BATCH) {
            match tokio::time::timeout(DEADLINE, self.load_batch(batch, &mut found)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "External MCP: the catalog table could not be read"),
                Err(_) => tracing::warn!("External MCP: the catalog table did not answer in time"),
            }
        }
        found
    }

    /// Writes a packed list, unless the table has a newer one.
    pub(crate) async fn save(&self, key: &ServerKey, packed: Vec<u8>, fetched_at: Timestamp) {
        match tokio::time::timeout(DEADLINE, self.put(key, packed, fetched_at)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "External MCP: the catalog table could not be written"),
            Err(_) => tracing::warn!("External MCP: the catalog table did not take a write in time"),
        }
    }

    async fn load_batch(
        &self,
        keys: &[ServerKey],
        found: &mut HashMap<ServerKey, Snapshot>,
    ) -> Result<(), String> {
        let mut wanted = keys.iter().map(|key| HashMap::from([("PK".to_owned(), pk(key))])).collect();
        loop {
            let request = KeysAndAttributes::builder().set_keys(Some(wanted)).build().map_err(display)?;
            let answer = self
                .client
                .batch_get_item()
                .request_items(&self.table, request)
                .send()
                .await
                .map_err(|error| aws_kit::reason(&error))?;
            let items = answer.responses.into_iter().flatten().flat_map(|(_, items)| items);
            found.extend(items.filter_map(|item| read_item(&item)));
            // Keys that did not fit into one answer (16 MB) are requested again, within the deadline.
            wanted = match answer.unprocessed_keys.and_then(|mut left| left.remove(&self.table)) {
                Some(left) if !left.keys.is_empty() => left.keys,
                _ => return Ok(()),
            };
        }
    }

    async fn put(&self, key: &ServerKey, packed: Vec<u8>, fetched_at: Timestamp) -> Result<(), String> {
        if packed.len() > MAX_ITEM_BYTES {
            let bytes = packed.len();
            tracing::warn!(bytes, "External MCP: a tool list is too large for the catalog table");
            return Ok(());
        }
        let expires = (fetched_at + RETENTION).as_second();
        let fetched_at = number(fetched_at.as_millisecond());
        let written = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("PK", pk(key))
            .item("tools", AttributeValue::B(Blob::new(packed)))
            .item("fetchedAt", fetched_at.clone())
            .item("ExpiresAfter", number(expires))
            .condition_expression("attribute_not_exists(PK) OR fetchedAt < :fetchedAt")
            .expression_attribute_values(":fetchedAt", fetched_at)
            .send()
            .await;
        match written {
            Err(error) if aws_kit::is_condition_failed(&error) => Ok(()),
            written => written.map(drop).map_err(|error| aws_kit::reason(&error)),
        }
    }
}

fn pk(key: &ServerKey) -> AttributeValue {
    text(format!("tools#{key}"))
}

fn read_item(item: &Item) -> Option<(ServerKey, Snapshot)> {
    let key = text_of(item, "PK")?.strip_prefix("tools#")?.to_owned();
    let fetched_at = Timestamp::from_millisecond(number_of(item, "fetchedAt")?).ok()?;
    match ToolNames::unpack(bytes_of(item, "tools")?) {
        Ok(tools) => Some((key.into(), Snapshot { tools, fetched_at })),
        Err(error) => {
            tracing::warn!(%error, "External MCP: an item of the catalog table cannot be read and is ignored");
            None
        }
    }
}

fn display(error: impl std::fmt::Display) -> String {
    error.to_string()
}
