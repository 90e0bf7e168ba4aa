//! A stream to a client whose patience ends when the client does not take what is written.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// What is written must be taken within a time, or the stream fails. A client that takes a part
/// gets no further time for the rest: a byte now and then would keep an answer in memory for ever.
pub struct Patient<S> {
    stream: S,
    patience: Duration,
    /// Since something had to wait.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    pub fn new(stream: S, patience: Duration) -> Self {
        Self {
            stream,
            patience,
            deadline: None,
        }
    }

    /// What to make of a write of `offered` bytes.
    fn judge(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
        offered: usize,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => {
                let patience = self.patience;
                let deadline = self
                    .deadline
                    .get_or_insert_with(|| Box::pin(sleep(patience)));
                if deadline.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                metrics::counter!("devart_http_slow_readers_cut_total").increment(1);
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            Poll::Ready(Ok(taken)) if taken == offered => {
                self.deadline = None;
                written
            }
            Poll::Ready(_) => written,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.judge(context, written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let offered = parts.iter().map(|part| part.len()).sum();
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.judge(context, written, offered)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn who_takes_nothing_is_given_up_on() {
        let (ours, _theirs) = duplex(4);
        let mut ours = Patient::new(ours, Duration::from_millis(50));
        let error = ours.write_all(b"more than four").await.expect_err("cut");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_byte_now_and_then_does_not_help() {
        let (ours, mut theirs) = duplex(4);
        let mut ours = Patient::new(ours, Duration::from_millis(50));
        let reader = tokio::spawn(async move {
            while theirs.read_u8().await.is_ok() {
                sleep(Duration::from_millis(30)).await;
            }
        });
        let error = ours.write_all(b"more than four").await.expect_err("cut");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(ours);
        reader.await.expect("the reader ends");
    }

    #[tokio::test]
    async fn what_was_taken_late_leaves_all_the_time_to_the_next() {
        let (ours, mut theirs) = duplex(4);
        let mut ours = Patient::new(ours, Duration::from_secs(60));
        let reader = tokio::spawn(async move {
            let mut bytes = [0; 8];
            theirs.read_exact(&mut bytes).await
        });
        ours.write_all(b"no room!").await.expect("taken in time");
        reader.await.expect("no panic").expect("eight bytes");
        assert!(ours.deadline.is_none());
    }
}
