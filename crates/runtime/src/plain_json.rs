//! JSON with all invisible characters escaped, so that showing it in a terminal cannot control the terminal.
//!
//! Used for log lines, and by the command line for its output.

use std::io::{self, Write};

/// Escapes the characters in the strings of `json` that control terminals, change the direction of text or are
/// invisible. JSON itself requires this for the first 32 control characters alone.
pub fn plain_json(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    for c in json.chars() {
        // ASCII control characters in strings are escaped already; the others are the line breaks of the layout.
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

/// A writer that escapes lines of JSON with [`plain_json`].
#[derive(Debug)]
pub(crate) struct PlainJson<W>(pub(crate) W);

impl<W: Write> Write for PlainJson<W> {
    /// Writes a whole line, as the formatter of log lines passes it.
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
    fn invisible_characters_are_escaped_and_the_value_stays_the_same() {
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
