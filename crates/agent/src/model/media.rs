//! Images and documents in tool results, as blocks of the Converse API.
//!
//! Bedrock limits the number of images and documents in a message, and the size of a request. Images and documents
//! beyond a limit are replaced with a text that describes them, the oldest first. This module names the documents
//! itself, because the model reads the names and a server could put instructions into them.

use aws_sdk_bedrockruntime::types::{
    ContentBlock, DocumentBlock, DocumentFormat, DocumentSource, ImageBlock, ImageFormat, ImageSource,
    Message, ToolResultContentBlock,
};
use aws_smithy_types::Blob;

use crate::result::{Media, MediaKind, Part};

/// The largest total size of all images and documents of a conversation, in bytes before Base64. Bedrock accepts 25 MB
/// a request, Base64 included.
pub(super) const MAX_MEDIA_BYTES: usize = 15_000_000;

/// The number of images and documents that one message can still take.
pub(super) struct Room {
    images: usize,
    documents: usize,
}

impl Default for Room {
    /// Returns Bedrock's limits for one message.
    fn default() -> Self {
        Self { images: 20, documents: 5 }
    }
}

impl Room {
    /// Counts one more image or document. Returns false if the message has no room for it.
    fn reserve(&mut self, kind: MediaKind) -> bool {
        let left = match kind {
            MediaKind::Image => &mut self.images,
            MediaKind::Document => &mut self.documents,
        };
        let fits = *left > 0;
        *left = left.saturating_sub(1);
        fits
    }
}

/// Converts the content of one tool result. `documents` is the number of documents in the conversation so far.
pub(super) fn content(
    parts: Vec<Part>,
    room: &mut Room,
    documents: &mut usize,
) -> Vec<ToolResultContentBlock> {
    let mut content: Vec<ToolResultContentBlock> = parts
        .into_iter()
        .filter_map(|part| match part {
            // Bedrock refuses blank text.
            Part::Text(text) => (!text.trim().is_empty()).then_some(ToolResultContentBlock::Text(text)),
            Part::Media(media) => Some(match room.reserve(media.kind) {
                true => {
                    let description = media.description();
                    block(media, documents).unwrap_or(ToolResultContentBlock::Text(description))
                }
                false => ToolResultContentBlock::Text(media.description()),
            }),
        })
        .collect();
    if content.is_empty() {
        content.push(ToolResultContentBlock::Text("(no content)".to_owned()));
    }
    content
}

fn block(media: Media, documents: &mut usize) -> Option<ToolResultContentBlock> {
    let bytes = Blob::new(media.bytes);
    match media.kind {
        MediaKind::Image => {
            let image = ImageBlock::builder()
                .format(ImageFormat::from(media.format))
                .source(ImageSource::Bytes(bytes));
            image.build().ok().map(ToolResultContentBlock::Image)
        }
        MediaKind::Document => {
            *documents += 1;
            let document = DocumentBlock::builder()
                .format(DocumentFormat::from(media.format))
                .name(format!("document {documents}"))
                .source(DocumentSource::Bytes(bytes));
            document.build().ok().map(ToolResultContentBlock::Document)
        }
    }
}

/// Returns the size of a block in bytes.
pub(super) fn size(block: &ToolResultContentBlock) -> usize {
    match block {
        ToolResultContentBlock::Text(text) => text.len(),
        block => media_size(block).unwrap_or_default(),
    }
}

fn media_size(block: &ToolResultContentBlock) -> Option<usize> {
    match block {
        ToolResultContentBlock::Image(image) => {
            image.source().and_then(|source| Some(source.as_bytes().ok()?.as_ref().len()))
        }
        ToolResultContentBlock::Document(document) => {
            document.source().and_then(|source| Some(source.as_bytes().ok()?.as_ref().len()))
        }
        _ => None,
    }
}

/// Replaces the oldest images and documents with a text that describes them, until the others have `limit` bytes at
/// most. Returns true if it replaced any.
pub(super) fn describe_beyond(messages: &mut [Message], limit: usize) -> bool {
    let blocks =
        messages.iter_mut().flat_map(|message| &mut message.content).filter_map(|block| match block {
            ContentBlock::ToolResult(result) => Some(&mut result.content),
            _ => None,
        });
    let media: Vec<(&mut ToolResultContentBlock, usize)> =
        blocks.flatten().filter_map(|block| media_size(block).map(|size| (block, size))).collect();
    let mut total: usize = media.iter().map(|(_, size)| size).sum();
    let mut is_changed = false;
    for (block, size) in media {
        if total <= limit {
            break;
        }
        let kind = if block.is_image() { "image" } else { "document" };
        *block = ToolResultContentBlock::Text(format!("[{kind}, {size} bytes, which cannot be shown here]"));
        total -= size;
        is_changed = true;
    }
    is_changed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Conversation, ToolResult};

    fn image(bytes: usize) -> Part {
        Part::Media(Media {
            kind: MediaKind::Image,
            format: "png",
            mime_type: "image/png",
            bytes: vec![0; bytes],
        })
    }

    fn pdf() -> Part {
        Part::Media(Media {
            kind: MediaKind::Document,
            format: "pdf",
            mime_type: "application/pdf",
            bytes: vec![0; 9],
        })
    }

    fn blocks(conversation: &Conversation) -> Vec<&ToolResultContentBlock> {
        let blocks = conversation.messages.iter().flat_map(|message| &message.content);
        blocks.filter_map(|block| block.as_tool_result().ok()).flat_map(|result| &result.content).collect()
    }

    fn conversation_with(parts: Vec<Part>) -> Conversation {
        let mut conversation = Conversation::new("s".into(), &[], "q");
        conversation.push_results(vec![ToolResult { id: "t".into(), parts, is_error: false }]);
        conversation
    }

    #[test]
    fn a_message_holds_as_many_images_and_documents_as_bedrock_accepts() {
        let conversation =
            conversation_with((0..25).map(|_| image(9)).chain((0..7).map(|_| pdf())).collect());
        let blocks = blocks(&conversation);
        assert_eq!(blocks.iter().filter(|block| block.is_image()).count(), 20);
        assert_eq!(blocks.iter().filter(|block| block.is_document()).count(), 5);
        let names: Vec<&str> =
            blocks.iter().filter_map(|block| Some(block.as_document().ok()?.name())).collect();
        assert_eq!(names, ["document 1", "document 2", "document 3", "document 4", "document 5"]);
    }

    #[test]
    fn the_oldest_media_are_described_if_the_total_is_too_large() {
        let mut conversation = conversation_with(vec![image(9_000_000)]);
        conversation.push_results(vec![ToolResult {
            id: "u".into(),
            parts: vec![image(9_000_000)],
            is_error: false,
        }]);
        let kinds: Vec<bool> = blocks(&conversation).iter().map(|block| block.is_image()).collect();
        assert_eq!(kinds, [false, true]);
        assert!(conversation.describe_media());
        assert!(blocks(&conversation).iter().all(|block| block.is_text()));
        assert!(!conversation.describe_media(), "no media are left");
    }

    #[test]
    fn a_blank_result_is_replaced_with_a_text() {
        let conversation = conversation_with(vec![Part::Text(" ".into())]);
        assert_eq!(blocks(&conversation)[0].as_text().unwrap(), "(no content)");
    }
}
