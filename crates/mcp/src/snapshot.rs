//! What was last known of a server's tools, kept in DynamoDB for every environment to start from.
//!
//! One item per server and credential identity: `PK` `tools#{key}`, `tools` (the MCP tool objects,
//! gzipped JSON), `fetchedAt` (milliseconds since the epoch), `ExpiresAfter` (seconds). Holds no
//! credential and no URL. Decides nothing about freshness ([`crate::ToolCache`] does) and is only ever
//! a help: what cannot be read or written is logged and done without.

use std::{
    collections::HashMap,
    io::{Read, Write},
    time::Duration,
};

use aws_sdk_dynamodb::{
    Client,
    error::ProvideErrorMetadata,
    primitives::Blob,
    types::{AttributeValue, KeysAndAttributes},
};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use jiff::{SignedDuration, Timestamp};

use crate::{connection::ToolList, server::ServerKey};

/// How long a list is kept as the last known good one after it was fetched. A server that has been
/// away for longer than a week is not coming back with the same tools.
pub(crate) const KEPT: SignedDuration = SignedDuration::from_hours(7 * 24);
/// DynamoDB's limit on the keys of one `BatchGetItem`.
const BATCH: usize = 100;
/// DynamoDB's limit on an item is 400 KB; what comes near it stays in the process.
const MAX_ITEM_BYTES: usize = 390_000;
/// The most that an item unpacks to: far beyond what a list of [`crate::connection`]'s limits holds.
const MAX_UNPACKED_BYTES: u64 = 64 * 1024 * 1024;
/// A read or write that takes longer is done without: it only saves work.
const DEADLINE: Duration = Duration::from_secs(2);

/// A server's tools, and when they were fetched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) list: ToolList,
    pub(crate) fetched_at: Timestamp,
}

/// The table of snapshots. Cheap to clone.
#[derive(Debug, Clone)]
pub struct SnapshotStore {
    client: Client,
    table: String,
}

impl SnapshotStore {
    /// Snapshots in `table`, whose partition key is `PK`.
    pub fn new(client: Client, table: String) -> Self {
        Self { client, table }
    }

    /// The snapshots of `keys`, as far as there are any. One read per hundred keys.
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

    /// Keeps a snapshot, unless a newer one is there.
    pub(crate) async fn save(&self, key: &ServerKey, snapshot: &Snapshot) {
        match tokio::time::timeout(DEADLINE, self.put(key, snapshot)).await {
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
                .map_err(|error| aws_fault::reason(&error))?;
            let items = answer.responses.into_iter().flatten().flat_map(|(_, items)| items);
            found.extend(items.filter_map(|item| read_item(&item)));
            // What did not fit into one answer (16 MB) is asked for again; the deadline bounds it.
            wanted = match answer.unprocessed_keys.and_then(|mut left| left.remove(&self.table)) {
                Some(left) if !left.keys.is_empty() => left.keys,
                _ => return Ok(()),
            };
        }
    }

    async fn put(&self, key: &ServerKey, snapshot: &Snapshot) -> Result<(), String> {
        let tools = pack(&snapshot.list).map_err(display)?;
        if tools.len() > MAX_ITEM_BYTES {
            tracing::warn!(
                bytes = tools.len(),
                "External MCP: a tool list is too large for the catalog table"
            );
            return Ok(());
        }
        let fetched_at = AttributeValue::N(snapshot.fetched_at.as_millisecond().to_string());
        let expires = (snapshot.fetched_at + KEPT).as_second().to_string();
        let written = self
            .client
            .put_item()
            .table_name(&self.table)
            .item("PK", pk(key))
            .item("tools", AttributeValue::B(Blob::new(tools)))
            .item("fetchedAt", fetched_at.clone())
            .item("ExpiresAfter", AttributeValue::N(expires))
            .condition_expression("attribute_not_exists(PK) OR fetchedAt < :fetchedAt")
            .expression_attribute_values(":fetchedAt", fetched_at)
            .send()
            .await;
        match written {
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => Ok(()),
            written => written.map(drop).map_err(|error| aws_fault::reason(&error)),
        }
    }
}

fn pk(key: &ServerKey) -> AttributeValue {
    AttributeValue::S(format!("tools#{key}"))
}

fn read_item(item: &HashMap<String, AttributeValue>) -> Option<(ServerKey, Snapshot)> {
    let key = item.get("PK")?.as_s().ok()?.strip_prefix("tools#")?.to_owned();
    let millis = item.get("fetchedAt")?.as_n().ok()?.parse().ok()?;
    let fetched_at = Timestamp::from_millisecond(millis).ok()?;
    match unpack(item.get("tools")?.as_b().ok()?.as_ref()) {
        Ok(list) => Some((key.into(), Snapshot { list, fetched_at })),
        Err(error) => {
            tracing::warn!(%error, "External MCP: an item of the catalog table is unreadable and done without");
            None
        }
    }
}

fn pack(list: &ToolList) -> std::io::Result<Vec<u8>> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    serde_json::to_writer(&mut packed, &(&list.tools, &list.left_out))?;
    packed.flush()?;
    packed.finish()
}

fn unpack(packed: &[u8]) -> serde_json::Result<ToolList> {
    let (tools, left_out) = serde_json::from_reader(GzDecoder::new(packed).take(MAX_UNPACKED_BYTES))?;
    Ok(ToolList { tools, left_out })
}

fn display(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let tools = json!([{"name": "add", "description": "Adds", "inputSchema": {"type": "object"},
            "annotations": {"readOnlyHint": true}}]);
        let list = ToolList { tools: serde_json::from_value(tools).unwrap(), left_out: vec!["one".into()] };
        assert_eq!(unpack(&pack(&list).unwrap()).unwrap(), list);
        assert!(unpack(b"garbled").is_err());
    }
}
