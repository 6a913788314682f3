//! A response body with a size limit.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream::BoxStream};

use crate::error::EgressError;

/// Maximum size of one body, in bytes: 8 MiB. A larger tool list or result is a fault of the server, and no server may fill
/// the memory of a function. For an event stream it limits the whole stream.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;

/// A response body, read as a stream that ends in [`EgressError::TooLarge`] past [`MAX_BODY_BYTES`].
pub struct Body {
    host: String,
    chunks: BoxStream<'static, Result<Bytes, reqwest::Error>>,
    left: usize,
}

impl Body {
    pub(crate) fn new(host: String, response: reqwest::Response) -> Self {
        Self { host, chunks: response.bytes_stream().boxed(), left: MAX_BODY_BYTES }
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// [`EgressError::TooLarge`] past the limit; [`EgressError::Timeout`] or [`EgressError::Broken`] if the body does not
    /// arrive.
    pub async fn collect(mut self) -> Result<Vec<u8>, EgressError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.next().await {
            body.extend_from_slice(&chunk?);
        }
        Ok(body)
    }
}

impl Stream for Body {
    type Item = Result<Bytes, EgressError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.poll_next_unpin(context).map(|chunk| {
            Some(match chunk? {
                Err(error) => Err(EgressError::from_reqwest(&self.host, error)),
                Ok(chunk) => match self.left.checked_sub(chunk.len()) {
                    Some(left) => {
                        self.left = left;
                        Ok(chunk)
                    }
                    None => {
                        let host = self.host.clone();
                        self.chunks = futures::stream::empty().boxed();
                        Err(EgressError::TooLarge { host, limit: MAX_BODY_BYTES })
                    }
                },
            })
        })
    }
}
