//! Gzip for JSON in binary attributes.

use std::io::{self, BufReader, Read, Write};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use serde::de::DeserializeOwned;

/// Appends `bytes` to `packed` as one gzip member. Several members in a row unpack to the concatenation of their bytes.
///
/// # Errors
/// [`io::Error`] of the encoder.
pub fn gzip_onto(packed: Vec<u8>, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(packed, Compression::default());
    encoder.write_all(bytes)?;
    encoder.finish()
}

/// Reads a JSON value out of gzip members that unpack to at most `max_bytes`.
///
/// # Errors
/// [`serde_json::Error`] if the bytes are not gzip, not JSON, not a `T`, or unpack to more than `max_bytes`.
pub fn json_from_gzip<T: DeserializeOwned>(packed: &[u8], max_bytes: u64) -> serde_json::Result<T> {
    serde_json::from_reader(BufReader::new(MultiGzDecoder::new(packed).take(max_bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_as_one_value_up_to_the_limit() {
        let packed = gzip_onto(gzip_onto(Vec::new(), b"[1, ").unwrap(), b"2]").unwrap();
        assert_eq!(json_from_gzip::<Vec<u8>>(&packed, 100).unwrap(), [1, 2]);
        assert!(json_from_gzip::<Vec<u8>>(&packed, 3).is_err());
        assert!(json_from_gzip::<Vec<u8>>(b"garbled", 100).is_err());
    }
}
