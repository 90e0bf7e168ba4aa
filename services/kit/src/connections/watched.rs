//! A request's body that tells whether it was read to its end.
//!
//! Where it was not, the connection closes after the answer, and the client must hear so with it:
//! one that keeps its connections would send its next request into the closing one and lose it
//! (RFC 9112, 9.6).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use axum::http::{HeaderValue, Response, header};
use hyper::body::{Body, Frame, SizeHint};

/// The body.
pub struct Watched<B> {
    body: B,
    end: End,
}

/// Whether the body came to its end.
#[derive(Clone)]
pub struct End(Arc<AtomicBool>);

impl<B: Body + Unpin> Watched<B> {
    pub fn new(body: B) -> (Self, End) {
        let end = End(Arc::new(AtomicBool::new(body.is_end_stream())));
        let watched = Self {
            body,
            end: end.clone(),
        };
        (watched, end)
    }
}

impl End {
    /// Says in the answer that the connection closes after it, if something is left unread.
    pub fn announce<B>(&self, answer: &mut Response<B>) {
        if !self.0.load(Ordering::Acquire) {
            let close = HeaderValue::from_static("close");
            answer.headers_mut().insert(header::CONNECTION, close);
        }
    }
}

impl<B: Body + Unpin> Body for Watched<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.end.0.store(true, Ordering::Release);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};

    use super::*;

    fn says_close(end: &End) -> bool {
        let mut answer = Response::new(());
        end.announce(&mut answer);
        answer.headers().get(header::CONNECTION).is_some()
    }

    #[tokio::test]
    async fn a_connection_closes_after_what_was_not_read() {
        let (body, end) = Watched::new(Body::from("something"));
        assert!(says_close(&end));
        let body = Body::new(body);
        to_bytes(body, 100).await.expect("it is small");
        assert!(!says_close(&end));
    }

    #[test]
    fn nothing_is_read_as_soon_as_it_comes() {
        let (_body, end) = Watched::new(Body::empty());
        assert!(!says_close(&end));
    }
}
