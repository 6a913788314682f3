//! The vault in DynamoDB, shared by all processes.
//!
//! Each item has the attributes `PK`, `version` (a count of writes and leases), `leasedUntil` (milliseconds), `owner`,
//! `issuer`, `resource` (the encryption context), `dataKey` and `sealed`, `usable` (false if the text is of no use any more),
//! `sub` (the owner's, if it is known), `writer` (a random name for each write), and `ExpiresAfter` (seconds). Every write
//! has the version that was read as a condition. Reads are strongly consistent, so that a process that takes a lease has
//! seen the latest state.

use std::collections::{HashMap, HashSet};

use aws_kit::{bytes_of, number, number_of, text, text_of};
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::{AttributeValue, KeysAndAttributes},
};
use futures::future::BoxFuture;
use jiff::Timestamp;

use super::{
    Content, ItemState, Key, SealedItem, Vault, VaultError,
    seal::{Sealed, Sealer},
};

/// Maximum number of keys in one `BatchGetItem`.
const BATCH: usize = 100;

/// A table of sealed items. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DynamoDbVault {
    client: Client,
    table: String,
    sealer: Sealer,
}

impl DynamoDbVault {
    /// Creates a vault on `table`, whose partition key is `PK`. `sealer` seals the items.
    pub fn new(client: Client, table: String, sealer: Sealer) -> Self {
        Self { client, table, sealer }
    }

    async fn read(&self, key: &Key, only: Option<&[&str]>) -> Result<Option<aws_kit::Item>, VaultError> {
        let mut request = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("PK", text(key.as_str()))
            .consistent_read(true);
        if let Some(names) = only {
            // Names are placeholders, because several of them are reserved words of DynamoDB.
            let places: Vec<String> = names.iter().map(|name| format!("#{name}")).collect();
            request = request.projection_expression(places.join(", "));
            for (place, name) in places.into_iter().zip(names) {
                request = request.expression_attribute_names(place, *name);
            }
        }
        Ok(request.send().await.map_err(|error| explain(&error))?.item)
    }

    /// Reads the states of at most [`BATCH`] items into `states`, by key.
    async fn peek_batch(
        &self,
        keys: &[&Key],
        states: &mut HashMap<String, ItemState>,
    ) -> Result<(), VaultError> {
        let mut wanted: Vec<aws_kit::Item> =
            keys.iter().map(|key| HashMap::from([("PK".to_owned(), text(key.as_str()))])).collect();
        while !wanted.is_empty() {
            let request = KeysAndAttributes::builder()
                .set_keys(Some(wanted))
                .consistent_read(true)
                .projection_expression("PK, version, leasedUntil, usable, #sub")
                .expression_attribute_names("#sub", "sub")
                .build()
                .map_err(VaultError::unavailable)?;
            let answer = self.client.batch_get_item().request_items(&self.table, request).send().await;
            let answer = answer.map_err(|error| VaultError::unavailable(aws_kit::reason(&error)))?;
            for item in answer.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                let key = text_of(&item, "PK").ok_or(VaultError::Unreadable)?;
                states.insert(key, read_state(&item).ok_or(VaultError::Unreadable)?);
            }
            // DynamoDB returns the keys that exceed 16 MB or its capacity as unprocessed. They are requested again, within
            // the caller's deadline.
            let left = answer.unprocessed_keys.and_then(|mut left| left.remove(&self.table));
            wanted = left.map(|left| left.keys).unwrap_or_default();
        }
        Ok(())
    }

    /// Returns true if a write whose condition failed was made by this call after all: the response to it was lost, and the
    /// SDK repeated the request.
    async fn settled(
        &self,
        key: &Key,
        writer: &str,
        outcome: Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        match outcome {
            Err(VaultError::Changed) => {
                let item = self.read(key, Some(&["writer"])).await?.unwrap_or_default();
                let is_ours = text_of(&item, "writer").as_deref() == Some(writer);
                if is_ours { Ok(()) } else { Err(VaultError::Changed) }
            }
            outcome => outcome,
        }
    }
}

impl Vault for DynamoDbVault {
    fn load<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<SealedItem>, VaultError>> {
        Box::pin(async move {
            let Some(item) = self.read(key, None).await? else { return Ok(None) };
            let (mut content, state, sealed) = read_item(&item).ok_or(VaultError::Unreadable)?;
            content.text = self.sealer.unseal(key, &content, sealed).await?;
            Ok(Some(SealedItem { content, state }))
        })
    }

    fn peek<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<ItemState>, VaultError>> {
        Box::pin(async move {
            let item = self.read(key, Some(&["version", "leasedUntil", "usable", "sub"])).await?;
            item.map(|item| read_state(&item).ok_or(VaultError::Unreadable)).transpose()
        })
    }

    fn peek_all<'a>(
        &'a self,
        keys: &'a [&'a Key],
    ) -> BoxFuture<'a, Result<Vec<Option<ItemState>>, VaultError>> {
        Box::pin(async move {
            let mut states = HashMap::new();
            let distinct: Vec<&Key> = keys.iter().copied().collect::<HashSet<_>>().into_iter().collect();
            for batch in distinct.chunks(BATCH) {
                self.peek_batch(batch, &mut states).await?;
            }
            Ok(keys.iter().map(|key| states.get(key.as_str()).cloned()).collect())
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        content: &'a Content,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<u64, VaultError>> {
        Box::pin(async move {
            let sealed = self.sealer.seal(key, content).await?;
            let version = expected.unwrap_or_default() + 1;
            let writer = writer();
            let mut request = self
                .client
                .put_item()
                .table_name(&self.table)
                .item("PK", text(key.as_str()))
                .item("version", number(version))
                .item("writer", text(writer.as_str()))
                .item("owner", text(content.owner.as_str()))
                .item("issuer", text(content.issuer.as_str()))
                .item("resource", text(content.resource.as_str()))
                .item("dataKey", AttributeValue::B(Blob::new(sealed.data_key)))
                .item("sealed", AttributeValue::B(Blob::new(sealed.text)))
                .item("usable", AttributeValue::Bool(content.usable))
                .item("ExpiresAfter", number(content.expires.as_second()));
            if let Some(sub) = &content.sub {
                request = request.item("sub", text(sub.as_str()));
            }
            request = match expected {
                None => request.condition_expression("attribute_not_exists(PK)"),
                Some(expected) => request
                    .condition_expression("version = :expected")
                    .expression_attribute_values(":expected", number(expected)),
            };
            let written = request.send().await.map(drop).map_err(|error| explain(&error));
            self.settled(key, &writer, written).await?;
            Ok(version)
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a Key,
        expected: u64,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<u64, VaultError>> {
        Box::pin(async move {
            let writer = writer();
            let leased = self
                .client
                .update_item()
                .table_name(&self.table)
                .key("PK", text(key.as_str()))
                .update_expression("SET version = :next, leasedUntil = :until, writer = :writer")
                .condition_expression("version = :expected")
                .expression_attribute_values(":expected", number(expected))
                .expression_attribute_values(":next", number(expected + 1))
                .expression_attribute_values(":writer", text(writer.as_str()))
                .expression_attribute_values(":until", number(until.as_millisecond()))
                .send()
                .await;
            let leased = leased.map(drop).map_err(|error| explain(&error));
            self.settled(key, &writer, leased).await?;
            Ok(expected + 1)
        })
    }

    fn remove<'a>(&'a self, key: &'a Key, expected: u64) -> BoxFuture<'a, Result<(), VaultError>> {
        Box::pin(async move {
            let removed = self
                .client
                .delete_item()
                .table_name(&self.table)
                .key("PK", text(key.as_str()))
                .condition_expression("version = :expected")
                .expression_attribute_values(":expected", number(expected))
                .send()
                .await;
            removed.map(drop).map_err(|error| explain(&error))
        })
    }
}

fn read_item(item: &aws_kit::Item) -> Option<(Content, ItemState, Sealed)> {
    let bytes = |name: &str| bytes_of(item, name).map(<[u8]>::to_vec);
    let content = Content {
        owner: text_of(item, "owner")?,
        issuer: text_of(item, "issuer")?,
        resource: text_of(item, "resource")?,
        text: String::new().into(),
        sub: text_of(item, "sub"),
        usable: read_state(item)?.usable,
        expires: Timestamp::from_second(number_of(item, "ExpiresAfter")?).ok()?,
    };
    Some((content, read_state(item)?, Sealed { data_key: bytes("dataKey")?, text: bytes("sealed")? }))
}

fn read_state(item: &aws_kit::Item) -> Option<ItemState> {
    let leased_until = match item.contains_key("leasedUntil") {
        true => Some(Timestamp::from_millisecond(number_of(item, "leasedUntil")?).ok()?),
        false => None,
    };
    Some(ItemState {
        version: number_of(item, "version")?,
        leased_until,
        usable: *item.get("usable")?.as_bool().ok()?,
        sub: text_of(item, "sub"),
    })
}

fn explain<E: ProvideErrorMetadata>(error: &SdkError<E>) -> VaultError {
    match aws_kit::is_condition_failed(error) {
        true => VaultError::Changed,
        false => VaultError::unavailable(aws_kit::reason(error)),
    }
}

fn writer() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}
