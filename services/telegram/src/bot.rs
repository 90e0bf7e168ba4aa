//! The Bot API: one call.
//!
//! The token is part of the URL, which is why `devart_kit::http_client` names none in its errors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use devart_kit::http_client::{HttpAnswer, HttpClient, HttpOptions};
use reqwest::StatusCode;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

/// Telegram may ask for so long a silence, and nobody between it and us for a longer one.
const LONGEST_SILENCE: Duration = Duration::from_secs(3600);

/// Somebody who can write messages.
pub struct Bot {
    api: HttpClient,
    token: SecretString,
    is_heard: AtomicBool,
}

/// What became of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// Telegram has it.
    Accepted,
    /// Too many messages; Telegram says for how long to be silent, or does not.
    Limited {
        error: String,
        after: Option<Duration>,
    },
    /// It will not be taken, now or later. `is_about_message`: another message might be.
    Refused {
        reason: String,
        is_about_message: bool,
    },
    /// The group became a supergroup, which has another id.
    Moved { to: i64, reason: String },
    /// It may be taken later; perhaps it was taken already.
    Failed { error: String },
}

#[derive(Deserialize)]
struct Reply {
    ok: bool,
    description: Option<String>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
struct Parameters {
    /// In seconds.
    retry_after: Option<u64>,
    migrate_to_chat_id: Option<i64>,
}

impl Bot {
    /// A bot at the API with this address, which has no slash at its end.
    ///
    /// # Errors
    /// When `url` is no address for HTTP, or this machine trusts no authority for HTTPS.
    pub fn new(url: &str, token: &str, options: HttpOptions) -> anyhow::Result<Self> {
        Ok(Self {
            api: HttpClient::new(&format!("{url}/bot{token}"), options)?,
            token: token.into(),
            is_heard: AtomicBool::new(true),
        })
    }

    /// Whether the last message was answered by somebody who knows us. True as long as there was
    /// none.
    pub fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }

    /// Sends text in MarkdownV2.
    pub async fn send(&self, chat: &str, markdown: &str) -> Answer {
        let message = json!({
            "chat_id": chat, "text": markdown, "parse_mode": "MarkdownV2",
            "link_preview_options": {"is_disabled": true},
        });
        let answer = match self.api.post_json("sendMessage", &message).await {
            Ok(HttpAnswer { status, body, .. }) => {
                understand(status, &body, self.token.expose_secret())
            }
            Err(error) => Answer::Failed {
                error: format!("Telegram {error}"),
            },
        };
        self.note(&answer);
        answer
    }

    fn note(&self, answer: &Answer) {
        let (outcome, is_heard) = match answer {
            Answer::Accepted => ("accepted", true),
            Answer::Limited { .. } => ("limited", true),
            Answer::Refused {
                is_about_message, ..
            } => ("refused", *is_about_message),
            Answer::Moved { .. } => ("moved", true),
            Answer::Failed { .. } => ("failed", false),
        };
        metrics::counter!("devart_telegram_messages_total", "outcome" => outcome).increment(1);
        self.is_heard.store(is_heard, Ordering::Relaxed);
    }
}

/// What Telegram, or something between it and us, means.
fn understand(status: StatusCode, body: &[u8], token: &str) -> Answer {
    let reply = serde_json::from_slice(body).unwrap_or(Reply {
        ok: false,
        description: None,
        parameters: Parameters::default(),
    });
    if status.is_success() && reply.ok {
        return Answer::Accepted;
    }
    let said = match &reply.description {
        Some(description) => format!("Telegram: {}", without(description, token)),
        None => format!("Telegram answered {status}"),
    };
    if let (true, Some(to)) = (
        status.is_client_error(),
        reply.parameters.migrate_to_chat_id,
    ) {
        return Answer::Moved { to, reason: said };
    }
    match status {
        StatusCode::TOO_MANY_REQUESTS => Answer::Limited {
            error: said,
            after: reply.parameters.retry_after.map(silence),
        },
        _ if status.is_client_error() => Answer::Refused {
            reason: said,
            is_about_message: status == StatusCode::BAD_REQUEST,
        },
        _ => Answer::Failed { error: said },
    }
}

fn silence(seconds: u64) -> Duration {
    LONGEST_SILENCE.min(Duration::from_secs(seconds))
}

/// Who answers may repeat the address that was asked, and the token is a part of it.
fn without(text: &str, token: &str) -> String {
    [
        token.to_owned(),
        token.replace(':', "%3A"),
        token.replace(':', "%3a"),
    ]
    .iter()
    .fold(text.to_owned(), |text, form| text.replace(form, "<token>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        understand(
            StatusCode::from_u16(status).expect("a status"),
            body.as_bytes(),
            "12345:SECRET",
        )
    }

    #[test]
    fn a_token_that_the_other_side_repeats_is_not_told() {
        for form in ["12345:SECRET", "12345%3ASECRET", "12345%3aSECRET"] {
            let body = json!({"ok": false, "description": format!("no /bot{form}/sendMessage")});
            let Answer::Refused { reason, .. } = answer(404, &body.to_string()) else {
                panic!("not refused");
            };
            assert_eq!(reason, "Telegram: no /bot<token>/sendMessage");
        }
    }

    #[test]
    fn no_silence_is_longer_than_an_hour() {
        for seconds in [3601, 9_223_372_036_854, u64::MAX] {
            let body = json!({"ok": false, "parameters": {"retry_after": seconds}});
            let Answer::Limited { after, .. } = answer(429, &body.to_string()) else {
                panic!("not limited");
            };
            assert_eq!(after, Some(LONGEST_SILENCE));
        }
    }

    #[test]
    fn only_a_good_answer_in_telegrams_words_is_acceptance() {
        assert_eq!(
            answer(200, r#"{"ok": true, "result": {"message_id": 1}}"#),
            Answer::Accepted
        );
        for body in [
            "<html>log in to the hotel's network</html>",
            r#"{"ok": false}"#,
            "",
        ] {
            assert!(matches!(answer(200, body), Answer::Failed { .. }), "{body}");
        }
    }

    #[test]
    fn too_many_messages_say_how_long_to_wait() {
        let body = r#"{"ok": false, "error_code": 429, "description": "Too Many Requests: retry after 7", "parameters": {"retry_after": 7}}"#;
        let Answer::Limited { error, after } = answer(429, body) else {
            panic!("not limited");
        };
        assert_eq!(after, Some(Duration::from_secs(7)));
        assert_eq!(error, "Telegram: Too Many Requests: retry after 7");
        assert!(matches!(
            answer(429, "slow down"),
            Answer::Limited { after: None, .. }
        ));
    }

    #[test]
    fn what_telegram_refuses_for_good_is_told_apart_from_trouble() {
        for (status, about_message) in [(400, true), (401, false), (403, false), (404, false)] {
            let refused = Answer::Refused {
                reason: "Telegram: no".to_owned(),
                is_about_message: about_message,
            };
            assert_eq!(
                answer(status, r#"{"ok": false, "description": "no"}"#),
                refused
            );
        }
        for status in [500, 502, 503, 504, 302] {
            assert!(
                matches!(answer(status, "{}"), Answer::Failed { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn a_group_that_became_a_supergroup_says_its_new_id() {
        let body = r#"{"ok": false, "description": "upgraded", "parameters": {"migrate_to_chat_id": -100123}}"#;
        let Answer::Moved { to, .. } = answer(400, body) else {
            panic!("not moved");
        };
        assert_eq!(to, -100_123);
    }

    #[tokio::test]
    async fn https_is_spoken_and_an_error_does_not_name_the_url() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        let greeting = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            stream.readable().await.expect("bytes");
            let mut first = [0];
            stream.try_read(&mut first).expect("a byte");
            first[0]
        });
        let url = format!("https://{address}");
        let bot = Bot::new(&url, "1:hunter2", HttpOptions::default()).expect("a bot");
        let Answer::Failed { error } = bot.send("1", "hello").await else {
            panic!("there is nobody");
        };
        assert!(!error.contains("hunter2"), "{error}");
        const TLS_HANDSHAKE: u8 = 22;
        assert_eq!(greeting.await.expect("no panic"), TLS_HANDSHAKE);
        assert!(!bot.is_heard());
    }
}
