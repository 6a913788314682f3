//! JSON in which every character that is not seen is escaped, so that it steers no terminal that shows it.

use std::io::{self, Write};

/// `json` with those characters of its texts escaped that steer terminals, turn directions or hide. JSON escapes the
/// first 32 control characters alone.
pub fn plain_json(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        // What is ASCII is escaped already, or lays the JSON out.
        if c.is_ascii() && c != '\u{7f}' || egress::is_printable(c) {
            plain.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            plain.push_str(&format!("\\u{unit:04x}"));
        }
    }
    plain
}

/// Writes lines of JSON that way.
#[derive(Debug)]
pub(crate) struct PlainJson<W>(pub(crate) W);

impl<W: Write> Write for PlainJson<W> {
    /// Takes a whole line, as the formatter of log lines gives it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match std::str::from_utf8(line) {
            Ok(text) => self.0.write_all(plain_json(text).as_bytes())?,
            Err(_) => self.0.write_all(line)?,
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_seen_is_escaped_and_reads_the_same() {
        let text = "a\u{9b}31m\u{202e}b\u{7f}\u{e0041}ä\n";
        let json = serde_json::to_string(text).unwrap();
        let plain = plain_json(&json);
        assert_eq!(plain, r#""a\u009b31m\u202eb\u007f\udb40\udc41ä\n""#);
        assert_eq!(serde_json::from_str::<String>(&plain).unwrap(), text);
        let mut written = PlainJson(Vec::new());
        written.write_all(json.as_bytes()).unwrap();
        assert_eq!(written.0, plain.as_bytes());
    }
}
