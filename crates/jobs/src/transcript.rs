//! Makes a transcript fit onto the job item, and packs the whole of a transcript that does not fit.
//!
//! DynamoDB items hold 400 KB. If the messages are larger, their longest texts are elided first, with a marker that
//! says how much is missing. Order, numbers and shape of the messages do not change. The whole transcript is packed
//! with gzip and cut into pieces for items of their own, which [`crate::transcript_items`] stores outside the user's
//! list of jobs. This module calls nothing.

use serde_json::Value;

/// Largest size of the job item, in bytes: DynamoDB's 400 KB (409,600) less room for names, numbers and what a later
/// write adds.
pub(crate) const MAX_ITEM_BYTES: usize = 380_000;
/// Largest size of one piece of a packed transcript, in bytes. An item of 300 KB costs 300 write units.
const PIECE_BYTES: usize = 300_000;
/// Largest size of an unpacked transcript, in bytes.
const MAX_UNPACKED_BYTES: u64 = 256 * 1024 * 1024;
/// The length to which a long text is cut, in bytes: enough to see what the text was about.
const ELIDED_TEXT_BYTES: usize = 200;

/// Messages that fit onto the job item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fitted {
    /// The array of messages, a JSON text.
    pub(crate) json: String,
    /// True if at least one text was elided.
    pub(crate) is_elided: bool,
}

/// Elides texts so that `messages` have at most `room` bytes as JSON, as far as eliding can do that.
pub(crate) fn fit(messages: &[Value], room: usize) -> Fitted {
    let whole = Value::Array(messages.to_vec()).to_string();
    if whole.len() <= room {
        return Fitted { json: whole, is_elided: false };
    }
    // Halve the limit for single texts until all messages fit: this takes a few rounds.
    let mut limit = whole.len() / 2;
    loop {
        let elided: Vec<Value> = messages.iter().map(|message| elide(message, limit)).collect();
        let json = Value::Array(elided).to_string();
        if json.len() <= room || limit <= ELIDED_TEXT_BYTES {
            return Fitted { json, is_elided: true };
        }
        limit /= 2;
    }
}

/// Cuts the texts of a message that are longer than `limit` bytes.
fn elide(value: &Value, limit: usize) -> Value {
    match value {
        Value::String(text) if text.len() > limit => {
            let end = text.floor_char_boundary(ELIDED_TEXT_BYTES);
            format!("{} [elided here: {} more bytes]", &text[..end], text.len() - end).into()
        }
        Value::Array(list) => list.iter().map(|item| elide(item, limit)).collect(),
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, field)| (name.clone(), elide(field, limit))).collect())
        }
        other => other.clone(),
    }
}

/// Packs `messages` and cuts the result into pieces.
pub(crate) fn pack(messages: &[Value]) -> std::io::Result<Vec<Vec<u8>>> {
    let packed = aws_kit::gzip_onto(Vec::new(), &serde_json::to_vec(messages)?)?;
    Ok(packed.chunks(PIECE_BYTES).map(<[u8]>::to_vec).collect())
}

/// Returns the messages that [`pack`] made `pieces` of.
pub(crate) fn unpack(pieces: &[Vec<u8>]) -> serde_json::Result<Vec<Value>> {
    aws_kit::json_from_gzip(&pieces.concat(), MAX_UNPACKED_BYTES)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(number: usize, length: usize) -> Value {
        json!({"role": "assistant", "content": [{"text": "x".repeat(length)}], "sequence_number": number})
    }

    #[test]
    fn messages_that_fit_are_not_changed() {
        let messages = [message(1, 10)];
        let fitted = fit(&messages, MAX_ITEM_BYTES);
        assert_eq!(fitted, Fitted { json: json!(messages).to_string(), is_elided: false });
    }

    #[test]
    fn the_longest_texts_are_elided_first_and_the_shape_stays() {
        let messages: Vec<Value> =
            (1..=40).map(|n| message(n, if n % 2 == 0 { 50_000 } else { 900 })).collect();
        let fitted = fit(&messages, MAX_ITEM_BYTES);
        assert!(fitted.is_elided && fitted.json.len() <= MAX_ITEM_BYTES);
        let read: Vec<Value> = serde_json::from_str(&fitted.json).unwrap();
        let numbers: Vec<_> = read.iter().map(|m| m["sequence_number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=40).collect::<Vec<_>>());
        assert_eq!(read[0], messages[0], "short texts stay");
        let elided = read[1]["content"][0]["text"].as_str().unwrap();
        assert!(elided.ends_with("[elided here: 49800 more bytes]"), "{elided}");
    }

    #[test]
    fn many_messages_fit_after_eliding() {
        let messages: Vec<Value> = (1..=300).map(|n| message(n, 10_000)).collect();
        assert!(fit(&messages, MAX_ITEM_BYTES).json.len() <= MAX_ITEM_BYTES);
    }

    #[test]
    fn a_transcript_is_unpacked_from_its_pieces() {
        // Text that does not compress well, so that there are several pieces.
        let noise = |n: u64| {
            (0..10_000)
                .map(|i| char::from(b'!' + (((n * 7919 + i) * 2_654_435_761) >> 7) as u8 % 90))
                .collect::<String>()
        };
        let messages: Vec<Value> = (0..120).map(|n| json!({"content": noise(n)})).collect();
        let pieces = pack(&messages).unwrap();
        assert!(pieces.iter().all(|piece| piece.len() <= PIECE_BYTES));
        assert_eq!(unpack(&pieces).unwrap(), messages);
        assert!(unpack(&[b"garbled".to_vec()]).is_err());
    }
}
