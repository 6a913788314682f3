//! A lenient JSON parser for the messages of servers.
//!
//! Valid JSON is parsed as it is. Invalid JSON is repaired once and parsed again: a byte order mark is skipped; `NaN`,
//! `Infinity` and numbers too large for 64 bits become `null`; the escape of half a surrogate pair becomes U+FFFD; a
//! raw control character inside a string is escaped. Any other error stays an error: nothing is guessed. Called by
//! [`super::Wire`] for every message.

use std::borrow::Cow;

use serde_json::Value;

/// Parses `text`, after repairing it if necessary.
///
/// # Errors
/// The parser's error for the repaired text.
pub(crate) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    // RFC 8259 §8.1 lets a parser ignore a byte order mark.
    let text = text.trim_start_matches('\u{feff}');
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(error) => match repaired(text) {
            Cow::Owned(repaired) => serde_json::from_str(&repaired),
            Cow::Borrowed(_) => Err(error),
        },
    }
}

/// Returns `text` with the repairs of the module documentation; borrowed if there is nothing to repair.
fn repaired(text: &str) -> Cow<'_, str> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let taken = if rest.starts_with('"') { string(rest, &mut out) } else { outside(rest, &mut out) };
        rest = &rest[taken..];
    }
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

/// Copies the text up to the next string literal; returns the number of bytes read.
fn outside(rest: &str, out: &mut String) -> usize {
    let end = rest.find('"').unwrap_or(rest.len());
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.');
    let mut part = &rest[..end];
    while let Some(first) = part.chars().next() {
        let length = match is_part(first) {
            true => part.find(|c| !is_part(c)).unwrap_or(part.len()),
            false => first.len_utf8(),
        };
        let token = &part[..length];
        let is_no_number = matches!(token, "NaN" | "Infinity" | "-Infinity" | "+Infinity" | "-NaN")
            || token.parse::<f64>().is_ok_and(f64::is_infinite);
        out.push_str(if is_no_number { "null" } else { token });
        part = &part[length..];
    }
    end
}

/// Copies the string literal that `rest` begins with; returns the number of bytes read.
fn string(rest: &str, out: &mut String) -> usize {
    out.push('"');
    let mut at = 1;
    while let Some(c) = rest[at..].chars().next() {
        match c {
            '"' => {
                out.push('"');
                return at + 1;
            }
            '\\' => at += escape(&rest[at..], out),
            c if c < ' ' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
                at += 1;
            }
            c => {
                out.push(c);
                at += c.len_utf8();
            }
        }
    }
    at
}

/// Copies the escape that `rest` begins with, or both escapes of a surrogate pair; returns the number of bytes read.
fn escape(rest: &str, out: &mut String) -> usize {
    const UNIT: usize = 6;
    let unit = |at: usize| {
        let digits = rest.get(at..at + UNIT)?.strip_prefix("\\u")?;
        u32::from_str_radix(digits, 16).ok()
    };
    match (unit(0), unit(UNIT)) {
        (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => {
            out.push_str(&rest[..2 * UNIT]);
            2 * UNIT
        }
        (Some(0xd800..=0xdfff), _) => {
            out.push_str("\\ufffd");
            UNIT
        }
        _ => {
            let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
            out.push_str(&rest[..length]);
            length
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(text: &str, expected: Value) {
        assert_eq!(parse(text).unwrap_or_else(|error| panic!("{text}: {error}")), expected, "{text}");
    }

    #[test]
    fn known_deviations_are_repaired() {
        check("\u{feff}{\"a\": 1}", json!({"a": 1}));
        check(r#"{"a": NaN, "b": [Infinity, -Infinity, 1]}"#, json!({"a": null, "b": [null, null, 1]}));
        check(r#"{"a": 1e999}"#, json!({"a": null}));
        check(r#"["\ud83d", "x\ude00y", "\ud83d\ude00", "\ud83d\ud83d\ude00"]"#, {
            json!(["\u{fffd}", "x\u{fffd}y", "\u{1f600}", "\u{fffd}\u{1f600}"])
        });
        check("[\"a\nb\tc\"]", json!(["a\nb\tc"]));
    }

    #[test]
    fn text_in_strings_stays_unchanged() {
        check(r#"["NaN", "a \" NaN", "\\ud83d", "Infinity", NaN]"#, {
            json!(["NaN", "a \" NaN", "\\ud83d", "Infinity", null])
        });
        check(r#"{"\ud83d": "\"\ud83d"}"#, json!({"\u{fffd}": "\"\u{fffd}"}));
    }

    #[test]
    fn other_invalid_json_stays_an_error() {
        for text in ["", "{", "<html>", "{'a': 1}", "[1,]", "\"abc", "nan", r#""\"#, "[\"\\u12\"]"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_causes_a_panic_and_valid_json_stays_unchanged(text in ".{0,80}", value in "[a-z\\u{0}-\\u{ffff}]{0,20}") {
            let _ = parse(&text);
            let _ = parse(&format!("[\"\\ud83d{text}\", NaN]"));
            let json = json!({ "v": value, "n": [1, -2.5e3, null] });
            proptest::prop_assert_eq!(parse(&json.to_string()).unwrap(), json);
        }
    }
}
