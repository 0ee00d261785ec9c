//! The bytes of a connection to the store, watched: how many have come without an answer that somebody took, and whether the store
//! has closed it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that may come before an answer among them is taken. A store that sends more is none.
pub(super) const MOST_UNTAKEN: usize = 16 * 1024 * 1024;

/// What is known of a connection.
#[derive(Debug, Default)]
pub(super) struct Signs {
    is_closed: AtomicBool,
    untaken: AtomicUsize,
}

impl Signs {
    /// Whether nothing more can be sent or come.
    pub(super) fn are_of_the_end(&self) -> bool {
        self.is_closed.load(Ordering::Relaxed)
    }

    /// An answer was taken.
    pub(super) fn taken(&self) {
        self.untaken.store(0, Ordering::Relaxed);
    }

    fn came(&self, bytes: usize) -> io::Result<()> {
        if bytes == 0 {
            self.is_closed.store(true, Ordering::Relaxed);
        } else if self.untaken.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > MOST_UNTAKEN {
            self.is_closed.store(true, Ordering::Relaxed);
            return Err(io::Error::new(io::ErrorKind::InvalidData, "an answer without end"));
        }
        Ok(())
    }
}

/// A stream whose signs others see.
pub(super) struct WatchedStream<S> {
    stream: S,
    signs: Arc<Signs>,
}

impl<S> WatchedStream<S> {
    /// Watches a stream.
    pub(super) fn new(stream: S, signs: Arc<Signs>) -> Self {
        Self { stream, signs }
    }
}

impl<S> Drop for WatchedStream<S> {
    /// The task that owned the stream has ended, with its runtime maybe.
    fn drop(&mut self) {
        self.signs.is_closed.store(true, Ordering::Relaxed);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WatchedStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        match Pin::new(&mut this.stream).poll_read(cx, buffer) {
            Poll::Ready(Ok(())) => Poll::Ready(this.signs.came(buffer.filled().len().saturating_sub(before))),
            Poll::Ready(Err(error)) => {
                this.signs.is_closed.store(true, Ordering::Relaxed);
                Poll::Ready(Err(error))
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WatchedStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
