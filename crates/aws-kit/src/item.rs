//! DynamoDB attributes as values, and values as DynamoDB attributes.

use std::{collections::HashMap, str::FromStr};

use aws_sdk_dynamodb::types::AttributeValue;

/// One DynamoDB item: its attributes by name.
pub type Item = HashMap<String, AttributeValue>;

/// Returns `value` as a string attribute.
pub fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

/// Returns `value` as a number attribute.
pub fn number(value: impl ToString) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Returns the string attribute `name`; `None` if the item has no such attribute or it is of another type.
pub fn text_of(item: &Item, name: &str) -> Option<String> {
    item.get(name)?.as_s().ok().cloned()
}

/// Returns the number attribute `name`; `None` if the item has no such attribute or it does not fit into `T`.
pub fn number_of<T: FromStr>(item: &Item, name: &str) -> Option<T> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

/// Returns the binary attribute `name`; `None` if the item has no such attribute or it is of another type.
pub fn bytes_of<'a>(item: &'a Item, name: &str) -> Option<&'a [u8]> {
    Some(item.get(name)?.as_b().ok()?.as_ref())
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::primitives::Blob;

    use super::*;

    #[test]
    fn attributes_of_another_type_count_as_missing() {
        let item = Item::from([
            ("text".to_owned(), text("a")),
            ("number".to_owned(), number(7)),
            ("bytes".to_owned(), AttributeValue::B(Blob::new(b"b"))),
        ]);
        assert_eq!(text_of(&item, "text").as_deref(), Some("a"));
        assert_eq!(number_of::<i64>(&item, "number"), Some(7));
        assert_eq!(bytes_of(&item, "bytes"), Some(&b"b"[..]));
        for name in ["number", "bytes", "missing"] {
            assert_eq!(text_of(&item, name), None, "{name}");
        }
        assert_eq!(number_of::<i64>(&item, "text"), None);
        assert_eq!(bytes_of(&item, "text"), None);
    }
}
