//! What one chat is told: everything that waits when the rate lets a message go, merged into one.

use std::collections::VecDeque;
use std::sync::Arc;

use devart_kit::outbox::HandlerError;
use tokio::sync::{mpsc, oneshot};

use crate::bot::{Answer, Bot};
use crate::rate_limit::RateLimit;

/// The Bot API's limit in characters. It counts them after the markup is taken away; we count
/// UTF-16 units with it, which are never fewer.
pub const LONGEST_MESSAGE: usize = 4096;

/// A group becomes a supergroup once. Who is sent on and on is refused.
const MOST_MOVES: u32 = 3;

const BETWEEN_ALERTS: &str = "\n\n";

/// The way to one chat.
pub struct Chat {
    waiting: mpsc::UnboundedSender<Waiting>,
}

/// An alert on its way.
struct Waiting {
    markdown: String,
    /// Its message was refused, perhaps because of another alert: this time it goes alone.
    is_alone: bool,
    /// Closed when nobody cares any more, since the row's lease is lost.
    outcome: oneshot::Sender<Result<(), HandlerError>>,
}

impl Chat {
    /// Opens the way to a chat. It is closed when this is dropped.
    pub fn open(bot: Arc<Bot>, id: String) -> Self {
        let (waiting, queue) = mpsc::unbounded_channel();
        tokio::spawn(run(bot, id, queue));
        Self { waiting }
    }

    /// Tells an alert; done when the message that it is part of was accepted.
    ///
    /// # Errors
    /// When Telegram did not take the message.
    pub async fn tell(&self, markdown: String) -> Result<(), HandlerError> {
        let (outcome, told) = oneshot::channel();
        let waiting = Waiting {
            markdown,
            is_alone: false,
            outcome,
        };
        let gone = || HandlerError::retry("the chat's queue has ended");
        self.waiting.send(waiting).map_err(|_| gone())?;
        told.await.unwrap_or_else(|_| Err(gone()))
    }
}

async fn run(bot: Arc<Bot>, mut id: String, mut arriving: mpsc::UnboundedReceiver<Waiting>) {
    let mut queue = VecDeque::new();
    let mut rate = RateLimit::new();
    let mut moves = 0;
    while let Some(batch) = next_message(&mut arriving, &mut queue, &mut rate).await {
        let answer = bot.send(&id, &merge(&batch)).await;
        rate.answered(&answer);
        match answer {
            Answer::Moved { to, .. } if moves < MOST_MOVES => {
                moves += 1;
                tracing::warn!(
                    "chat {id} is now chat {to}, which is told from now on: change TELEGRAM_CHAT_ID"
                );
                id = to.to_string();
                batch.into_iter().rev().for_each(|it| queue.push_front(it));
            }
            answer => {
                moves = 0;
                tell_outcome(&id, batch, answer, &mut queue);
            }
        }
    }
}

/// What the rate lets go next; none when the chat is closed.
async fn next_message(
    arriving: &mut mpsc::UnboundedReceiver<Waiting>,
    queue: &mut VecDeque<Waiting>,
    rate: &mut RateLimit,
) -> Option<Vec<Waiting>> {
    loop {
        if queue.is_empty() {
            queue.push_back(arriving.recv().await?);
        }
        rate.wait().await;
        while let Ok(next) = arriving.try_recv() {
            queue.push_back(next);
        }
        queue.retain(|waiting| !waiting.outcome.is_closed());
        let batch = take_message(queue);
        if !batch.is_empty() {
            return Some(batch);
        }
    }
}

/// As much of the front of the queue as fits into one message. An alert alone always does (see
/// `wording`).
fn take_message(queue: &mut VecDeque<Waiting>) -> Vec<Waiting> {
    let mut batch: Vec<Waiting> = queue.pop_front().into_iter().collect();
    let mut length: usize = batch.iter().map(|first| units(&first.markdown)).sum();
    while let Some(next) = queue.front() {
        length += units(BETWEEN_ALERTS) + units(&next.markdown);
        let is_alone = next.is_alone || batch.iter().any(|it| it.is_alone);
        if is_alone || length > LONGEST_MESSAGE {
            break;
        }
        batch.extend(queue.pop_front());
    }
    batch
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

fn merge(batch: &[Waiting]) -> String {
    let texts: Vec<&str> = batch.iter().map(|it| it.markdown.as_str()).collect();
    texts.join(BETWEEN_ALERTS)
}

fn tell_outcome(chat: &str, batch: Vec<Waiting>, answer: Answer, queue: &mut VecDeque<Waiting>) {
    let outcome = match answer {
        Answer::Accepted => {
            let count = batch.len();
            tracing::info!(
                chat,
                count,
                "told chat {chat} of {count} alerts in one message"
            );
            Ok(())
        }
        Answer::Limited { error, after } => Err(HandlerError::Retry { error, after }),
        Answer::Failed { error } => Err(HandlerError::retry(error)),
        Answer::Refused {
            is_about_message: true,
            ..
        } if batch.len() > 1 => {
            return again_one_by_one(batch, queue);
        }
        Answer::Refused { reason, .. } | Answer::Moved { reason, .. } => {
            Err(HandlerError::Permanent(reason))
        }
    };
    for waiting in batch {
        // Nobody listens when the lease was lost meanwhile: then it comes again.
        let _ = waiting.outcome.send(outcome.clone());
    }
}

/// One of them may be what Telegram does not take; the others must not go down with it.
fn again_one_by_one(batch: Vec<Waiting>, queue: &mut VecDeque<Waiting>) {
    for mut waiting in batch.into_iter().rev() {
        waiting.is_alone = true;
        queue.push_front(waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Told = oneshot::Receiver<Result<(), HandlerError>>;

    fn waiting(markdown: &str, is_alone: bool) -> (Waiting, Told) {
        let (outcome, told) = oneshot::channel();
        let waiting = Waiting {
            markdown: markdown.to_owned(),
            is_alone,
            outcome,
        };
        (waiting, told)
    }

    fn queue(texts: &[(&str, bool)]) -> VecDeque<Waiting> {
        texts
            .iter()
            .map(|(text, is_alone)| waiting(text, *is_alone).0)
            .collect()
    }

    fn messages(mut queue: VecDeque<Waiting>) -> Vec<String> {
        let mut messages = Vec::new();
        while !queue.is_empty() {
            messages.push(merge(&take_message(&mut queue)));
        }
        messages
    }

    #[test]
    fn what_waits_becomes_one_message_in_order() {
        let queue = queue(&[("a", false), ("b", false), ("c", false)]);
        assert_eq!(messages(queue), ["a\n\nb\n\nc"]);
    }

    #[test]
    fn a_message_is_never_too_long() {
        let (long, longest) = ("🙂".repeat(1000), "ü".repeat(LONGEST_MESSAGE));
        let texts = [
            (long.as_str(), false),
            (&long, false),
            (&long, false),
            (&longest, false),
            ("", false),
        ];
        let lengths: Vec<usize> = messages(queue(&texts)).iter().map(|it| units(it)).collect();
        assert_eq!(lengths, [4002, 2000, 4096, 0]);
    }

    #[test]
    fn what_was_refused_together_is_tried_alone() {
        let mut queue = queue(&[("later", false)]);
        let (one, mut told) = waiting("one", false);
        let (two, _told) = waiting("two", false);
        let refused = |reason: &str| Answer::Refused {
            reason: reason.to_owned(),
            is_about_message: true,
        };
        tell_outcome("1", vec![one, two], refused("bad"), &mut queue);
        assert!(told.try_recv().is_err(), "not decided yet");
        let alone = take_message(&mut queue);
        assert_eq!(merge(&alone), "one");
        tell_outcome("1", alone, refused("bad"), &mut queue);
        let outcome = told.try_recv().expect("decided");
        assert_eq!(outcome, Err(HandlerError::Permanent("bad".to_owned())));
        assert_eq!(messages(queue), ["two", "later"]);
    }
}
