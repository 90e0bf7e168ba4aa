//! The Bot API: one call.
//!
//! The token is part of the URL, so no error here says where it was sent to.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::json;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);
const LONGEST_ANSWER: usize = 64 * 1024;

/// Somebody who can write messages.
pub struct Bot {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    send_message: Uri,
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
    pub fn new(url: &str, token: &str) -> anyhow::Result<Self> {
        let address: Uri = url.parse().context("it is no URL")?;
        let is_https = address.scheme_str() == Some("https");
        ensure!(
            is_https || address.scheme_str() == Some("http"),
            "it begins with neither https:// nor http://"
        );
        ensure!(address.query().is_none(), "it has a query");
        // What the parser would say of it could repeat it.
        let send_message = format!("{url}/bot{token}/sendMessage").parse();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector(is_https)?),
            send_message: send_message
                .ok()
                .context("it cannot be used with the token")?,
            is_heard: AtomicBool::new(true),
        })
    }

    /// Whether the last message was answered by somebody who knows us. True as long as there was none.
    pub fn is_heard(&self) -> bool {
        self.is_heard.load(Ordering::Relaxed)
    }

    /// Sends text in MarkdownV2.
    pub async fn send(&self, chat: &str, markdown: &str) -> Answer {
        let answer = match timeout(PATIENCE, self.exchange(chat, markdown)).await {
            Ok(Ok((status, body))) => understand(status, &body),
            Ok(Err(error)) => Answer::Failed { error },
            Err(_) => Answer::Failed {
                error: format!("Telegram did not answer within {PATIENCE:?}"),
            },
        };
        self.note(&answer);
        answer
    }

    async fn exchange(&self, chat: &str, markdown: &str) -> Result<(StatusCode, Bytes), String> {
        let response = self.post(chat, markdown).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER);
        let body = body.collect().await;
        let body = body.map_err(|error| chain("Telegram's answer broke off", &*error))?;
        Ok((status, body.to_bytes()))
    }

    async fn post(&self, chat: &str, markdown: &str) -> Result<Response<Incoming>, String> {
        let body = json!({
            "chat_id": chat, "text": markdown, "parse_mode": "MarkdownV2",
            "link_preview_options": {"is_disabled": true},
        });
        let request = Request::post(self.send_message.clone())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::from(body.to_string()))
            .map_err(|_| "the request cannot be written".to_owned())?;
        let sent = self.client.request(request).await;
        sent.map_err(|error| chain("Telegram cannot be reached", &error))
    }

    fn note(&self, answer: &Answer) {
        let (outcome, is_heard) = match answer {
            Answer::Accepted => ("accepted", true),
            Answer::Limited { .. } => ("limited", true),
            Answer::Refused {
                is_about_message, ..
            } => ("refused", *is_about_message),
            Answer::Failed { .. } => ("failed", false),
        };
        metrics::counter!("devart_telegram_messages_total", "outcome" => outcome).increment(1);
        self.is_heard.store(is_heard, Ordering::Relaxed);
    }
}

/// Authorities are looked up only where they are needed: a machine may have none.
fn connector(is_https: bool) -> anyhow::Result<HttpsConnector<HttpConnector>> {
    let builder = HttpsConnectorBuilder::new();
    let builder = if is_https {
        builder
            .with_provider_and_native_roots(ring::default_provider())
            .context("this machine trusts no authority (Debian: apt-get install ca-certificates)")?
    } else {
        let config = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        builder.with_tls_config(config)
    };
    Ok(builder.https_or_http().enable_http1().build())
}

/// What Telegram, or something between it and us, means.
fn understand(status: StatusCode, body: &[u8]) -> Answer {
    let reply = serde_json::from_slice(body).unwrap_or(Reply {
        ok: false,
        description: None,
        parameters: Parameters::default(),
    });
    if status.is_success() && reply.ok {
        return Answer::Accepted;
    }
    let said = match &reply.description {
        Some(description) => format!("Telegram: {description}"),
        None => format!("Telegram answered {status}"),
    };
    match status {
        StatusCode::TOO_MANY_REQUESTS => Answer::Limited {
            error: said,
            after: reply.parameters.retry_after.map(Duration::from_secs),
        },
        _ if status.is_client_error() => Answer::Refused {
            reason: with_new_chat(said, reply.parameters.migrate_to_chat_id),
            is_about_message: status == StatusCode::BAD_REQUEST,
        },
        _ => Answer::Failed { error: said },
    }
}

fn with_new_chat(reason: String, migrated_to: Option<i64>) -> String {
    match migrated_to {
        Some(id) => format!("{reason} (the chat's id is now {id}: change TELEGRAM_CHAT_ID)"),
        None => reason,
    }
}

/// An error with its causes, none of which names the URL.
fn chain(what: &str, error: &(dyn Error + 'static)) -> String {
    let mut text = what.to_owned();
    let mut cause = Some(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        understand(
            StatusCode::from_u16(status).expect("a status"),
            body.as_bytes(),
        )
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
        let Answer::Refused { reason, .. } = answer(400, body) else {
            panic!("not refused");
        };
        assert!(reason.contains("-100123"), "{reason}");
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
        let bot = Bot::new(&format!("https://{address}"), "1:hunter2").expect("a bot");
        let Answer::Failed { error } = bot.send("1", "hello").await else {
            panic!("there is nobody");
        };
        assert!(!error.contains("hunter2"), "{error}");
        const TLS_HANDSHAKE: u8 = 22;
        assert_eq!(greeting.await.expect("no panic"), TLS_HANDSHAKE);
        assert!(!bot.is_heard());
    }
}
