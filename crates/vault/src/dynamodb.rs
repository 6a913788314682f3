//! The store in DynamoDB, for every process to share.
//!
//! One item a key: `PK`, `version` (counts writes and leases), `leasedUntil` (milliseconds), `owner`,
//! `issuer`, `resource` (what it is sealed for), `dataKey` and `sealed`, `usable` (whether that is of any
//! use), `sub` (the owner's, if it is known), `writer` (a random name of the last write), `ExpiresAfter` (seconds). Every write names the version
//! it read. Reads are consistent: a lease is only as good as what is read of it.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    primitives::Blob,
    types::AttributeValue,
};
use futures::future::BoxFuture;
use jiff::Timestamp;

use super::{
    Content, Item, Key, Standing, StoreError, TokenStore,
    seal::{Sealed, Sealer},
};

/// A table of sealed items. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DynamoDbStore {
    client: Client,
    table: String,
    sealer: Sealer,
}

impl DynamoDbStore {
    /// Items in `table`, whose partition key is `PK`, sealed by `sealer`.
    pub fn new(client: Client, table: String, sealer: Sealer) -> Self {
        Self { client, table, sealer }
    }

    async fn read(
        &self,
        key: &Key,
        only: Option<&[&str]>,
    ) -> Result<Option<HashMap<String, AttributeValue>>, StoreError> {
        let mut request = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("PK", text(key.as_str()))
            .consistent_read(true);
        if let Some(names) = only {
            // By placeholder: some of the names are reserved words.
            let places: Vec<String> = names.iter().map(|name| format!("#{name}")).collect();
            request = request.projection_expression(places.join(", "));
            for (place, name) in places.into_iter().zip(names) {
                request = request.expression_attribute_names(place, *name);
            }
        }
        Ok(request.send().await.map_err(|error| explain(&error))?.item)
    }

    /// Whether a write that was refused as out of date is in fact ours: its answer was lost, and the SDK
    /// sent it again.
    async fn settled(
        &self,
        key: &Key,
        writer: &str,
        outcome: Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match outcome {
            Err(StoreError::Changed) => {
                let item = self.read(key, Some(&["writer"])).await?.unwrap_or_default();
                let is_ours =
                    item.get("writer").and_then(|found| found.as_s().ok()).is_some_and(|w| w == writer);
                if is_ours { Ok(()) } else { Err(StoreError::Changed) }
            }
            outcome => outcome,
        }
    }
}

impl TokenStore for DynamoDbStore {
    fn load<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Item>, StoreError>> {
        Box::pin(async move {
            let Some(item) = self.read(key, None).await? else { return Ok(None) };
            let (mut content, standing, sealed) = read_item(&item).ok_or(StoreError::Unreadable)?;
            content.text = self.sealer.unseal(key, &content, sealed).await?;
            Ok(Some(Item { content, standing }))
        })
    }

    fn peek<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<Option<Standing>, StoreError>> {
        Box::pin(async move {
            let item = self.read(key, Some(&["version", "leasedUntil", "usable", "sub"])).await?;
            item.map(|item| read_standing(&item).ok_or(StoreError::Unreadable)).transpose()
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a Key,
        content: &'a Content,
        expected: Option<u64>,
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
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
                .item("writer", text(&writer))
                .item("owner", text(&content.owner))
                .item("issuer", text(&content.issuer))
                .item("resource", text(&content.resource))
                .item("dataKey", AttributeValue::B(Blob::new(sealed.data_key)))
                .item("sealed", AttributeValue::B(Blob::new(sealed.text)))
                .item("usable", AttributeValue::Bool(content.usable))
                .item("ExpiresAfter", number(content.expires.as_second()));
            if let Some(sub) = &content.sub {
                request = request.item("sub", text(sub));
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
    ) -> BoxFuture<'a, Result<u64, StoreError>> {
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
                .expression_attribute_values(":writer", text(&writer))
                .expression_attribute_values(":until", number(until.as_millisecond()))
                .send()
                .await;
            let leased = leased.map(drop).map_err(|error| explain(&error));
            self.settled(key, &writer, leased).await?;
            Ok(expected + 1)
        })
    }

    fn remove<'a>(&'a self, key: &'a Key, expected: u64) -> BoxFuture<'a, Result<(), StoreError>> {
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

fn read_item(item: &HashMap<String, AttributeValue>) -> Option<(Content, Standing, Sealed)> {
    let words = |name: &str| Some(item.get(name)?.as_s().ok()?.clone());
    let bytes = |name: &str| Some(item.get(name)?.as_b().ok()?.as_ref().to_vec());
    let expires = item.get("ExpiresAfter")?.as_n().ok()?.parse().ok()?;
    let content = Content {
        owner: words("owner")?,
        issuer: words("issuer")?,
        resource: words("resource")?,
        text: String::new().into(),
        sub: words("sub"),
        usable: read_standing(item)?.usable,
        expires: Timestamp::from_second(expires).ok()?,
    };
    Some((content, read_standing(item)?, Sealed { data_key: bytes("dataKey")?, text: bytes("sealed")? }))
}

fn read_standing(item: &HashMap<String, AttributeValue>) -> Option<Standing> {
    let version = item.get("version")?.as_n().ok()?.parse().ok()?;
    let leased_until = match item.get("leasedUntil") {
        None => None,
        Some(until) => Some(Timestamp::from_millisecond(until.as_n().ok()?.parse().ok()?).ok()?),
    };
    let usable = *item.get("usable")?.as_bool().ok()?;
    let sub = item.get("sub").and_then(|sub| sub.as_s().ok().cloned());
    Some(Standing { version, leased_until, usable, sub })
}

fn explain<E: ProvideErrorMetadata>(error: &SdkError<E>) -> StoreError {
    match error.code() {
        Some("ConditionalCheckFailedException") => StoreError::Changed,
        _ => StoreError::unavailable(aws_fault::reason(error)),
    }
}

fn writer() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

fn text(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}
