//! A limit on the memory of large messages: the number of bytes that may be parsed at the same time, over all clients.
//!
//! A parsed message uses some twenty times the memory of its text. Parsed all at once, the large messages of a hundred
//! servers would fill the memory of a function. So large messages wait for each other; small ones do not wait. The
//! reservation is released when the request that the message answers is done. Called by [`crate::wire`].

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Messages larger than this wait for each other, in bytes.
const LARGE_BYTES: usize = 64 * 1024;
/// Total size of the large messages that may be parsed at the same time, in bytes. Parsed, they use some 50 MB of the
/// 256 MB of the smallest function.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// The limit that all clients of a [`crate::Connector`] share. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct MessageMemory(Arc<Semaphore>);

/// The reservations of one client.
#[derive(Debug, Default)]
pub(crate) struct MemoryReservations(Mutex<Vec<OwnedSemaphorePermit>>);

impl Default for MessageMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_BYTES)))
    }
}

impl MessageMemory {
    /// Waits until a message of this size may be parsed, and adds the reservation to `reservations`. A message larger
    /// than the whole limit waits until no other reservation is left.
    pub(crate) async fn reserve(&self, bytes: usize, reservations: &MemoryReservations) {
        if bytes <= LARGE_BYTES {
            return;
        }
        let permits = u32::try_from(bytes.min(MAX_BYTES)).unwrap_or(u32::MAX);
        // The semaphore is never closed, so this cannot fail.
        if let Ok(permit) = Arc::clone(&self.0).acquire_many_owned(permits).await {
            reservations.0.lock().unwrap_or_else(PoisonError::into_inner).push(permit);
        }
    }
}

/// Releases all reservations of a client when dropped. By then the parsed messages are dropped, or the caller owns what
/// was made of them.
pub(crate) struct ReleaseOnDrop(pub(crate) Arc<MemoryReservations>);

impl Drop for ReleaseOnDrop {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn large_messages_wait_for_each_other_and_small_ones_do_not() {
        let memory = MessageMemory::default();
        let (one, other) = (MemoryReservations::default(), MemoryReservations::default());
        assert!(memory.reserve(3 * MAX_BYTES, &one).now_or_never().is_some());
        assert!(memory.reserve(LARGE_BYTES, &other).now_or_never().is_some());
        assert!(memory.reserve(LARGE_BYTES + 1, &other).now_or_never().is_none());
        let one = Arc::new(one);
        drop(ReleaseOnDrop(Arc::clone(&one)));
        assert!(memory.reserve(MAX_BYTES / 2, &one).now_or_never().is_some());
        assert!(memory.reserve(MAX_BYTES / 2, &other).now_or_never().is_some());
        drop(one);
        assert!(memory.reserve(MAX_BYTES / 2, &other).now_or_never().is_some());
    }
}
