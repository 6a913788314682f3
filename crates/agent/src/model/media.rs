//! Images and documents in tool results, as Converse takes them.
//!
//! Bedrock limits how many images and documents one message holds, and how large one request is; what is beyond
//! is told in words, the oldest first. Names of documents are ours: a server's would be read by the model.

use aws_sdk_bedrockruntime::types::{
    ContentBlock, DocumentBlock, DocumentFormat, DocumentSource, ImageBlock, ImageFormat, ImageSource,
    Message, ToolResultContentBlock,
};
use aws_smithy_types::Blob;

use crate::result::{Media, MediaKind, Part};

/// What all images and documents of a conversation may weigh: Bedrock takes 25 MB a request, Base64 included.
pub(super) const MAX_MEDIA_BYTES: usize = 15_000_000;

/// How many images and documents one message may still hold.
pub(super) struct Room {
    images: usize,
    documents: usize,
}

impl Default for Room {
    /// Bedrock's limits.
    fn default() -> Self {
        Self { images: 20, documents: 5 }
    }
}

impl Room {
    /// Returns true if one more fits, which it then takes.
    fn takes(&mut self, kind: MediaKind) -> bool {
        let left = match kind {
            MediaKind::Image => &mut self.images,
            MediaKind::Document => &mut self.documents,
        };
        let fits = *left > 0;
        *left = left.saturating_sub(1);
        fits
    }
}

/// The content of one tool result. `documents` counts those of the conversation.
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
            Part::Media(media) => Some(match room.takes(media.kind) {
                true => {
                    let words = media.in_words();
                    block(media, documents).unwrap_or(ToolResultContentBlock::Text(words))
                }
                false => ToolResultContentBlock::Text(media.in_words()),
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

/// What a block weighs, in bytes.
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

/// Tells the oldest images and documents in words until the others weigh `limit` at most; returns true if there
/// were any to tell.
pub(super) fn keep_within(messages: &mut [Message], limit: usize) -> bool {
    let blocks =
        messages.iter_mut().flat_map(|message| &mut message.content).filter_map(|block| match block {
            ContentBlock::ToolResult(result) => Some(&mut result.content),
            _ => None,
        });
    let media: Vec<(&mut ToolResultContentBlock, usize)> =
        blocks.flatten().filter_map(|block| media_size(block).map(|size| (block, size))).collect();
    let mut total: usize = media.iter().map(|(_, size)| size).sum();
    let mut told = false;
    for (block, size) in media {
        if total <= limit {
            break;
        }
        let kind = if block.is_image() { "image" } else { "document" };
        *block = ToolResultContentBlock::Text(format!("[{kind}, {size} bytes, which cannot be shown here]"));
        total -= size;
        told = true;
    }
    told
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

    fn asked(parts: Vec<Part>) -> Conversation {
        let mut conversation = Conversation::new("s".into(), &[], "q");
        conversation.push_results(vec![ToolResult { id: "t".into(), parts, is_error: false }]);
        conversation
    }

    #[test]
    fn a_message_holds_as_many_as_bedrock_takes() {
        let conversation = asked((0..25).map(|_| image(9)).chain((0..7).map(|_| pdf())).collect());
        let blocks = blocks(&conversation);
        assert_eq!(blocks.iter().filter(|block| block.is_image()).count(), 20);
        assert_eq!(blocks.iter().filter(|block| block.is_document()).count(), 5);
        let names: Vec<&str> =
            blocks.iter().filter_map(|block| Some(block.as_document().ok()?.name())).collect();
        assert_eq!(names, ["document 1", "document 2", "document 3", "document 4", "document 5"]);
    }

    #[test]
    fn the_oldest_are_told_in_words_where_all_are_too_large() {
        let mut conversation = asked(vec![image(9_000_000)]);
        conversation.push_results(vec![ToolResult {
            id: "u".into(),
            parts: vec![image(9_000_000)],
            is_error: false,
        }]);
        let kinds: Vec<bool> = blocks(&conversation).iter().map(|block| block.is_image()).collect();
        assert_eq!(kinds, [false, true]);
        assert!(conversation.tell_media_in_words());
        assert!(blocks(&conversation).iter().all(|block| block.is_text()));
        assert!(!conversation.tell_media_in_words(), "nothing is left to tell");
    }

    #[test]
    fn blank_results_say_so() {
        let conversation = asked(vec![Part::Text(" ".into())]);
        assert_eq!(blocks(&conversation)[0].as_text().unwrap(), "(no content)");
    }
}
