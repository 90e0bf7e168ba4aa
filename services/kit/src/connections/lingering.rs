//! A stream that hears its client out before it closes.
//!
//! A client that is still sending when it is answered gets "connection reset" instead of the answer
//! if the socket is closed with something unread in it (RFC 9112, 9.6). So the answer goes out, and
//! what comes meanwhile is read and dropped, within limits.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// How long a client may go on sending after the answer.
const LONGEST: Duration = Duration::from_secs(2);
/// And how much.
const MOST_BYTES: usize = 2 * 1024 * 1024;
const PIECE_BYTES: usize = 16 * 1024;

pub struct Lingering<S> {
    stream: S,
    /// Since it was shut down.
    farewell: Option<Farewell>,
}

struct Farewell {
    deadline: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl<S> Lingering<S> {
    pub fn new(stream: S) -> Self {
        Self {
            stream,
            farewell: None,
        }
    }
}

impl Farewell {
    fn begin() -> Self {
        Self {
            deadline: Box::pin(sleep(LONGEST)),
            bytes_left: MOST_BYTES,
        }
    }

    /// Reads until the client is done, or the limits are reached.
    fn poll<S: AsyncRead + Unpin>(
        &mut self,
        stream: &mut S,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        while self.bytes_left > 0 && self.deadline.as_mut().poll(context).is_pending() {
            let mut piece = [0; PIECE_BYTES];
            let mut piece = ReadBuf::new(&mut piece);
            let read = ready!(Pin::new(&mut *stream).poll_read(context, &mut piece));
            if read.is_err() || piece.filled().is_empty() {
                break;
            }
            self.bytes_left = self.bytes_left.saturating_sub(piece.filled().len());
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
        }
        let farewell = this.farewell.get_or_insert_with(Farewell::begin);
        farewell.poll(&mut this.stream, context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex, split};

    use super::*;

    #[tokio::test]
    async fn who_is_still_sending_gets_the_answer() {
        let (ours, theirs) = duplex(64);
        let mut ours = Lingering::new(ours);
        let client = tokio::spawn(async move {
            let (mut answers, mut requests) = split(theirs);
            requests.write_all(&[b'x'; 100_000]).await?;
            requests.shutdown().await?;
            let mut answer = String::new();
            answers.read_to_string(&mut answer).await?;
            io::Result::Ok(answer)
        });
        ours.write_all(b"401").await.expect("written");
        ours.shutdown().await.expect("closed");
        drop(ours);
        assert_eq!(client.await.expect("ends").expect("no error"), "401");
    }

    #[tokio::test]
    async fn who_stays_silent_is_left() {
        let (ours, _theirs) = duplex(64);
        let mut ours = Lingering::new(ours);
        ours.shutdown().await.expect("closed");
    }
}
