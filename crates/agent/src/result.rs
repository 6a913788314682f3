//! Tool results: converts the result of an MCP tool to text, images and documents for the model.
//!
//! Converse accepts some formats and sizes of images and documents, and refuses a whole request for one other. The
//! format is therefore read from the first bytes, not from the server's media type. Content that Converse does not
//! accept is replaced with a text that describes it. This module limits the length of texts and decodes Base64. It does
//! not use Bedrock's types.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/userguide/conversation-inference-call.html>

use base64::{Engine, prelude::BASE64_STANDARD};
use mcp::{CallToolResult, ContentBlock, ResourceContents};
use serde_json::Value;

/// Converse's limit on one image, 3.75 MB.
const MAX_IMAGE_BYTES: usize = 3_932_160;
/// Converse's limit on one document, 4.5 MB.
const MAX_DOCUMENT_BYTES: usize = 4_718_592;

/// One part of a tool result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Part {
    Text(String),
    Media(Media),
}

/// An image or a document that Converse accepts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Media {
    pub(crate) kind: MediaKind,
    /// The format as Converse names it, such as `png`.
    pub(crate) format: &'static str,
    /// The media type in the transcript, such as `image/png`.
    pub(crate) mime_type: &'static str,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MediaKind {
    Image,
    Document,
}

impl Media {
    /// Returns a text that describes the media, for a model that cannot receive it.
    pub(crate) fn description(&self) -> String {
        description(self.mime_type, self.bytes.len())
    }
}

/// Converts a result to parts. The texts have `limit` bytes together at most.
pub(crate) fn parts(result: &CallToolResult, limit: usize) -> Vec<Part> {
    let mut parts: Vec<Part> = result.content.iter().flat_map(block).collect();
    // Servers with structured content repeat it as text for old clients. The model needs it once.
    if let Some(structured) = &result.structured_content {
        let is_repeated = parts.iter().any(|part| {
            matches!(part, Part::Text(text) if serde_json::from_str::<Value>(text).is_ok_and(|value| value == *structured))
        });
        if !is_repeated {
            parts.push(Part::Text(structured.to_string()));
        }
    }
    fit(joined(parts), limit)
}

fn block(block: &ContentBlock) -> Vec<Part> {
    match block {
        ContentBlock::Text(text) => vec![Part::Text(text.text.clone())],
        ContentBlock::Image(image) => vec![media(&image.data, &image.mime_type)],
        ContentBlock::Audio(audio) => {
            vec![Part::Text(description(&audio.mime_type, decoded_len(&audio.data)))]
        }
        ContentBlock::Resource(embedded) => match &embedded.resource {
            ResourceContents::TextResourceContents { uri, text, .. } => {
                vec![Part::Text(format!("[resource {uri}]\n{text}"))]
            }
            ResourceContents::BlobResourceContents { uri, blob, mime_type, .. } => {
                let mime_type = mime_type.as_deref().unwrap_or("application/octet-stream");
                vec![Part::Text(format!("[resource {uri}]")), media(blob, mime_type)]
            }
            _ => vec![Part::Text("[resource of an unknown kind]".to_owned())],
        },
        ContentBlock::ResourceLink(link) => {
            vec![Part::Text(format!("[link to resource {}: {}]", link.name, link.uri))]
        }
        _ => vec![Part::Text("[content of an unknown kind]".to_owned())],
    }
}

/// Decodes a Base64 text to an image, a document or a text. Anything else gives a text that describes it. `named` is
/// the media type that the server gave.
fn media(base64: &str, named: &str) -> Part {
    let described = || Part::Text(description(named, decoded_len(base64)));
    if decoded_len(base64) > MAX_IMAGE_BYTES.max(MAX_DOCUMENT_BYTES) {
        return described();
    }
    let compact: String = base64.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    let Ok(bytes) = BASE64_STANDARD.decode(compact) else { return described() };
    if let Some((kind, format, mime_type)) = format_of(&bytes, named) {
        let limit = if kind == MediaKind::Image { MAX_IMAGE_BYTES } else { MAX_DOCUMENT_BYTES };
        return match bytes.len() <= limit {
            true => Part::Media(Media { kind, format, mime_type, bytes }),
            false => described(),
        };
    }
    let is_text = named.starts_with("text/") || named.ends_with("json") || named.ends_with("xml");
    match String::from_utf8(bytes) {
        Ok(text) if is_text => Part::Text(text),
        _ => described(),
    }
}

/// Returns kind, format and media type by the first bytes; `None` if Converse does not accept the format. Office
/// formats are all ZIP archives, so that only the server's media type tells them apart.
fn format_of(bytes: &[u8], named: &str) -> Option<(MediaKind, &'static str, &'static str)> {
    use MediaKind::{Document, Image};
    const DOCX: &str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document";
    const XLSX: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet";
    let begins = |start: &[u8]| bytes.starts_with(start);
    if begins(b"\x89PNG\r\n\x1a\n") {
        Some((Image, "png", "image/png"))
    } else if begins(b"\xff\xd8\xff") {
        Some((Image, "jpeg", "image/jpeg"))
    } else if begins(b"GIF87a") || begins(b"GIF89a") {
        Some((Image, "gif", "image/gif"))
    } else if begins(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some((Image, "webp", "image/webp"))
    } else if begins(b"%PDF-") {
        Some((Document, "pdf", "application/pdf"))
    } else if begins(b"PK\x03\x04") && named == DOCX {
        Some((Document, "docx", DOCX))
    } else if begins(b"PK\x03\x04") && named == XLSX {
        Some((Document, "xlsx", XLSX))
    } else {
        None
    }
}

fn description(mime_type: &str, bytes: usize) -> String {
    let mime_type: String = mime_type.chars().take(100).collect();
    format!("[{mime_type}, {bytes} bytes, which cannot be shown here]")
}

/// Returns the size in bytes that a Base64 text decodes to.
fn decoded_len(base64: &str) -> usize {
    base64.trim_end_matches('=').len() / 4 * 3 + [0, 0, 1, 2][base64.trim_end_matches('=').len() % 4]
}

/// Joins neighbouring texts with a line break.
fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut joined: Vec<Part> = Vec::new();
    for part in parts {
        match (joined.last_mut(), part) {
            (Some(Part::Text(before)), Part::Text(text)) => {
                before.push('\n');
                before.push_str(&text);
            }
            (_, part) => joined.push(part),
        }
    }
    joined
}

/// Cuts the texts so that they have `limit` bytes together at most.
fn fit(parts: Vec<Part>, limit: usize) -> Vec<Part> {
    let mut left = limit;
    parts
        .into_iter()
        .map(|part| match part {
            Part::Text(text) => {
                let text = cut(text, left);
                left = left.saturating_sub(text.len());
                Part::Text(text)
            }
            media => media,
        })
        .collect()
}

fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = text.floor_char_boundary(limit);
        let missing = text.len() - end;
        text.truncate(end);
        text.push_str(&format!("\n[cut here: {missing} more bytes are missing]"));
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n....";

    fn parts_of(result: Value) -> Vec<Part> {
        let result: CallToolResult = serde_json::from_value(result).unwrap();
        parts(&result, 1_000)
    }

    fn check(result: Value, expected: &str) {
        assert_eq!(parts_of(result), [Part::Text(expected.to_owned())]);
    }

    fn blob(bytes: &[u8], mime_type: &str) -> Value {
        json!({"content": [{"type": "image", "mimeType": mime_type, "data": BASE64_STANDARD.encode(bytes)}]})
    }

    #[test]
    fn texts_and_links_become_one_text() {
        check(json!({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}), "a\nb");
        check(
            json!({"content": [{"type": "resource", "resource": {"uri": "file:///a", "text": "hello"}}]}),
            "[resource file:///a]\nhello",
        );
        check(json!({"content": [{"type": "resource_link", "uri": "file:///a", "name": "a"}]}), {
            "[link to resource a: file:///a]"
        });
    }

    #[test]
    fn the_format_of_images_and_documents_is_read_from_their_first_bytes() {
        let is = |bytes: &[u8], named: &str, format: &str| {
            let [Part::Media(media)] = &parts_of(blob(bytes, named))[..] else {
                panic!("{named} is no media")
            };
            assert_eq!((media.format, media.bytes.as_slice()), (format, bytes));
        };
        is(PNG, "image/png", "png");
        is(PNG, "image/jpeg", "png");
        is(b"\xff\xd8\xff\xe0....", "image/jpg", "jpeg");
        is(b"GIF89a....", "image/gif", "gif");
        is(b"RIFF....WEBPVP8 ", "image/webp", "webp");
        is(b"%PDF-1.7\n", "application/pdf", "pdf");
        let embedded = json!({"content": [{"type": "resource", "resource": {"uri": "file:///a.png", "mimeType": "image/png",
            "blob": BASE64_STANDARD.encode(PNG)}}]});
        assert!(matches!(
            &parts_of(embedded)[..],
            [Part::Text(_), Part::Media(Media { kind: MediaKind::Image, .. })]
        ));
    }

    #[test]
    fn content_that_converse_does_not_accept_is_described() {
        check(blob(b"BM....", "image/bmp"), "[image/bmp, 6 bytes, which cannot be shown here]");
        check(json!({"content": [{"type": "image", "mimeType": "image/png", "data": "!"}]}), {
            "[image/png, 0 bytes, which cannot be shown here]"
        });
        check(json!({"content": [{"type": "audio", "mimeType": "audio/wav", "data": "AAAA"}]}), {
            "[audio/wav, 3 bytes, which cannot be shown here]"
        });
        check(blob(b"a,b\n1,2", "text/csv"), "a,b\n1,2");
        check(
            blob(b"PK\x03\x04....", "application/zip"),
            "[application/zip, 8 bytes, which cannot be shown here]",
        );
        let large = [PNG, &vec![b'.'; MAX_IMAGE_BYTES]].concat();
        assert!(matches!(&parts_of(blob(&large, "image/png"))[..], [Part::Text(_)]));
    }

    #[test]
    fn structured_content_that_a_text_repeats_is_given_once() {
        let text = json!({"sum": 5}).to_string();
        check(json!({"content": [{"type": "text", "text": text}], "structuredContent": {"sum": 5}}), &text);
        check(json!({"content": [], "structuredContent": {"sum": 5}}), &text);
        check(json!({"content": [], "structuredContent": [1, 2]}), "[1,2]");
    }

    #[test]
    fn a_cut_result_says_how_much_is_missing() {
        assert_eq!(cut("ü".repeat(10), 11), "üüüüü\n[cut here: 10 more bytes are missing]");
        assert_eq!(cut("short".into(), 5), "short");
    }
}
