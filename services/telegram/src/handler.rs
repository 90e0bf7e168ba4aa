//! From the outbox to every chat.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use devart_kit::outbox::{Delivery, HandlerError, OutboxHandler};
use futures::future::join_all;

use crate::alert::Alert;
use crate::bot::Bot;
use crate::chat::Chat;
use crate::wording;

/// Alerts of which some chat has to be told again. More than can be under way at a time.
const MOST_REMEMBERED: usize = 100_000;

/// Delivers alerts.
pub struct Alerts {
    way: Option<Way>,
}

struct Way {
    bot: Arc<Bot>,
    chats: Vec<Chat>,
    told: Told,
}

impl Alerts {
    /// Tells each of the chats.
    pub fn to(bot: Bot, chats: Vec<String>) -> Self {
        let bot = Arc::new(bot);
        let open = |id| Chat::open(Arc::clone(&bot), id);
        let chats = chats.into_iter().map(open).collect();
        let told = Told::default();
        Self {
            way: Some(Way { bot, chats, told }),
        }
    }

    /// Tells nobody, but the log.
    pub fn only_logged() -> Self {
        Self { way: None }
    }
}

impl OutboxHandler for Alerts {
    const TOPIC: &'static str = "telegram.alert";
    type Message = Alert;

    async fn handle(&self, delivery: Delivery<Alert>) -> Result<(), HandlerError> {
        let id = delivery.id;
        let text = wording::of(&delivery.message);
        let Some(way) = &self.way else {
            let line = text.to_string().replace('\n', "; ");
            tracing::info!(id, "alert {id}, which nobody is sent: {line}");
            return Ok(());
        };
        way.tell(id, &text.markdown()).await
    }

    async fn trouble(&self) -> Option<String> {
        let is_heard = self.way.as_ref().is_none_or(|way| way.bot.is_heard());
        (!is_heard).then(|| "Telegram did not take the last message".to_owned())
    }
}

impl Way {
    async fn tell(&self, id: i64, markdown: &str) -> Result<(), HandlerError> {
        let chats = self.chats.iter().enumerate();
        let missing = chats.filter(|(number, _)| !self.told.contains(id, *number));
        let outcomes = join_all(missing.map(|(number, chat)| async move {
            chat.tell(markdown.to_owned()).await?;
            self.told.insert(id, number);
            Ok(())
        }));
        let outcome = together(outcomes.await);
        if !matches!(outcome, Err(HandlerError::Retry { .. })) {
            self.told.forget(id);
        }
        outcome
    }
}

/// One outcome of all: as long as one chat may still be told, the alert is tried again.
fn together(outcomes: Vec<Result<(), HandlerError>>) -> Result<(), HandlerError> {
    let worst = outcomes
        .into_iter()
        .filter_map(Result::err)
        .max_by_key(|error| match error {
            HandlerError::Permanent(_) => (0, Duration::ZERO),
            HandlerError::Retry { after, .. } => (1, after.unwrap_or_default()),
        });
    worst.map_or(Ok(()), Err)
}

/// Which chats know of which alert, while another chat does not yet: trouble with one chat must not
/// repeat the alert in the others. What a crash forgets is told again.
#[derive(Default)]
struct Told(Mutex<BTreeMap<i64, BTreeSet<usize>>>);

impl Told {
    fn contains(&self, id: i64, chat: usize) -> bool {
        self.alerts()
            .get(&id)
            .is_some_and(|chats| chats.contains(&chat))
    }

    fn insert(&self, id: i64, chat: usize) {
        let mut alerts = self.alerts();
        alerts.entry(id).or_default().insert(chat);
        // The oldest: another process may have told the rest.
        if alerts.len() > MOST_REMEMBERED {
            alerts.pop_first();
        }
    }

    fn forget(&self, id: i64) {
        self.alerts().remove(&id);
    }

    fn alerts(&self) -> MutexGuard<'_, BTreeMap<i64, BTreeSet<usize>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry(after: Option<u64>) -> HandlerError {
        HandlerError::Retry {
            error: "later".to_owned(),
            after: after.map(Duration::from_secs),
        }
    }

    #[test]
    fn an_alert_is_delivered_when_every_chat_has_it() {
        assert_eq!(together(vec![Ok(()), Ok(())]), Ok(()));
        let gone = HandlerError::Permanent("gone".to_owned());
        assert_eq!(together(vec![Ok(()), Err(gone.clone())]), Err(gone.clone()));
        assert_eq!(
            together(vec![Err(gone), Err(retry(None))]),
            Err(retry(None))
        );
    }

    #[test]
    fn the_longest_silence_that_was_asked_for_counts() {
        let outcomes = vec![Err(retry(Some(3))), Err(retry(Some(7))), Err(retry(None))];
        assert_eq!(together(outcomes), Err(retry(Some(7))));
    }
}
