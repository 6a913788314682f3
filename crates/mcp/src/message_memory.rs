//! How much memory the messages of servers may take at once, while they are parsed and what is kept of them is made.
//!
//! A message takes some twenty times its length when it is parsed. Were the large ones of all servers parsed at once, a
//! hundred lists would fill a function; so they wait for each other. Small ones do not wait.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The messages that are larger than this wait for each other.
const LARGE_BYTES: usize = 64 * 1024;
/// How much of large messages is parsed at once: they take some 50 MB then, of the 256 MB of the smallest function.
const MAX_BYTES: usize = 2 * 1024 * 1024;

/// The memory for the messages of all connections. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct MessageMemory(Arc<Semaphore>);

/// What one connection holds of it.
#[derive(Debug, Default)]
pub(crate) struct HeldMemory(Mutex<Vec<OwnedSemaphorePermit>>);

impl Default for MessageMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_BYTES)))
    }
}

impl MessageMemory {
    /// Waits until there is memory for a message of so many bytes, which then counts as `held`'s. A message larger
    /// than all of it waits until it is the only one.
    pub(crate) async fn take(&self, bytes: usize, held: &HeldMemory) {
        if bytes <= LARGE_BYTES {
            return;
        }
        let permits = u32::try_from(bytes.min(MAX_BYTES)).unwrap_or(u32::MAX);
        // It is never closed.
        if let Ok(permit) = Arc::clone(&self.0).acquire_many_owned(permits).await {
            held.0.lock().unwrap_or_else(PoisonError::into_inner).push(permit);
        }
    }
}

/// Gives memory back when it is dropped: what was made of the messages is small then, or the caller's.
pub(crate) struct GivesBack(pub(crate) Arc<HeldMemory>);

impl Drop for GivesBack {
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
        let (memory, one, other) = (MessageMemory::default(), HeldMemory::default(), HeldMemory::default());
        assert!(memory.take(3 * MAX_BYTES, &one).now_or_never().is_some());
        assert!(memory.take(LARGE_BYTES, &other).now_or_never().is_some());
        assert!(memory.take(LARGE_BYTES + 1, &other).now_or_never().is_none());
        let one = Arc::new(one);
        drop(GivesBack(Arc::clone(&one)));
        assert!(memory.take(MAX_BYTES / 2, &one).now_or_never().is_some());
        assert!(memory.take(MAX_BYTES / 2, &other).now_or_never().is_some());
        drop(one);
        assert!(memory.take(MAX_BYTES / 2, &other).now_or_never().is_some());
    }
}
