//! A stand-in for Telegram: speaks as much of the Bot API as the bridge does, keeps what it
//! received, and misbehaves when it is told to.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use super::markdown_v2;

/// The stand-in of an installation.
pub(crate) const STAND_IN: super::StandIn = super::StandIn {
    part: "telegram-stand-in",
    port: 8092,
    instead_of: "TELEGRAM_BOT_TOKEN",
    takes: "alerts",
    settings,
    serve: |port| Box::pin(serve(port)),
};

/// The token that an installation's bridge has as long as it has no other. Nobody's, and no secret.
const TOKEN: &str = "0:stand-in";

/// The chat that it writes to.
const CHAT: &str = "0";

/// Telegram's limit, in characters without markup.
const LONGEST_TEXT: usize = 4096;
const LONGEST_REQUEST: usize = 1 << 20;

/// What is kept; older requests are forgotten.
const MOST_KEPT: usize = 10_000;

/// What becomes of a request instead of a proper answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// 429 with so many seconds to wait.
    Limited { retry_after: u64 },
    /// 400, since the chat is now another one.
    Moved { to: i64 },
    /// An answer with this status and description.
    Answer { status: u16, description: String },
    /// The connection is closed without an answer.
    Dropped,
    /// The message is accepted, but the answer never comes.
    Unanswered,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Received {
    /// When it had arrived.
    pub at: Instant,
    /// The token in its URL.
    pub token: String,
    /// The chat it is for.
    pub chat: String,
    /// The text as it came.
    pub markdown: String,
    /// What people read; none when it was not accepted.
    pub accepted: Option<String>,
}

/// A message that was accepted, as `GET /messages?after=N` lists it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    /// Its number, counted from 1.
    pub number: usize,
    /// What people read.
    pub text: String,
}

/// A running stand-in; it ends when this is dropped.
pub struct StandIn {
    address: SocketAddr,
    book: Arc<Book>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Book {
    received: Mutex<Vec<Received>>,
    messages: Mutex<Vec<Message>>,
    troubles: Mutex<VecDeque<Trouble>>,
    tells: bool,
}

#[derive(Deserialize)]
struct SendMessage {
    chat_id: String,
    text: String,
    parse_mode: String,
}

/// Where a stand-in on this port answers.
pub fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn settings(port: u16) -> Vec<(&'static str, String)> {
    vec![
        ("TELEGRAM_BOT_TOKEN", TOKEN.to_owned()),
        ("TELEGRAM_CHAT_ID", CHAT.to_owned()),
        ("TELEGRAM_API_URL", url(port)),
    ]
}

async fn serve(port: u16) -> Result<()> {
    let mut stand_in = StandIn::open(port, true).await?;
    say!("standing in for Telegram at {}", stand_in.url());
    (&mut stand_in.server)
        .await
        .context("the stand-in panicked")
}

impl StandIn {
    /// Starts a stand-in on a free port.
    pub async fn start() -> Result<Self> {
        Self::open(0, false).await
    }

    async fn open(port: u16, tells: bool) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .await
            .with_context(|| format!("listening on port {port}"))?;
        let address = listener.local_addr().context("looking up the port")?;
        let book = Arc::new(Book {
            tells,
            ..Book::default()
        });
        let server = tokio::spawn(accept(listener, Arc::clone(&book)));
        Ok(Self {
            address,
            book,
            server,
        })
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        url(self.address.port())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What becomes of the next messages, one after the other. Those after them are accepted.
    pub fn plan(&self, troubles: impl IntoIterator<Item = Trouble>) {
        lock(&self.book.troubles).extend(troubles);
    }

    /// Every message that came, accepted or not, in order.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.book.received).clone()
    }

    /// What people read, in order.
    pub fn accepted(&self) -> Vec<String> {
        let received = self.received().into_iter();
        received.filter_map(|it| it.accepted).collect()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn accept(listener: TcpListener, book: Arc<Book>) {
    // Ends with this future, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    connections.spawn(converse(stream, Arc::clone(&book)));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(stream: TcpStream, book: Arc<Book>) {
    let answer = service_fn(move |request| {
        let book = Arc::clone(&book);
        async move { book.answer(request).await }
    });
    // An error is a connection that broke off, or that we were told to drop.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

/// An error makes hyper close the connection.
type Answer = io::Result<Response<Full<Bytes>>>;

impl Book {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        if request.method() == Method::GET && path == "/messages" {
            return Ok(self.list(request.uri().query().unwrap_or_default()));
        }
        let token = path
            .strip_prefix("/bot")
            .and_then(|rest| rest.strip_suffix("/sendMessage"));
        let Some(token) = token.filter(|_| request.method() == Method::POST) else {
            return Ok(refusal(404, "Not Found"));
        };
        let body = Limited::new(request.into_body(), LONGEST_REQUEST)
            .collect()
            .await;
        let body = body.map_err(io::Error::other)?.to_bytes();
        match serde_json::from_slice::<SendMessage>(&body) {
            Ok(message) => self.send_message(token, message).await,
            Err(error) => Ok(refusal(400, &format!("Bad Request: {error}"))),
        }
    }

    async fn send_message(&self, token: &str, message: SendMessage) -> Answer {
        let trouble = lock(&self.troubles).pop_front();
        let read = read(&message);
        let accepted = match trouble {
            None | Some(Trouble::Unanswered) => read.clone().ok(),
            Some(_) => None,
        };
        self.write_down(Received {
            at: Instant::now(),
            token: token.to_owned(),
            chat: message.chat_id,
            markdown: message.text,
            accepted,
        });
        match (trouble, read) {
            (Some(trouble), _) => trouble.answer().await,
            (None, Ok(_)) => Ok(reply(200, &json!({"ok": true, "result": {}}))),
            (None, Err(description)) => Ok(refusal(400, &description)),
        }
    }

    fn write_down(&self, received: Received) {
        if let Some(text) = &received.accepted {
            if self.tells {
                say!("{text}\n");
            }
            let mut messages = lock(&self.messages);
            let number = messages.last().map_or(1, |last| last.number + 1);
            let text = text.clone();
            push(&mut messages, Message { number, text });
        }
        push(&mut lock(&self.received), received);
    }

    fn list(&self, query: &str) -> Response<Full<Bytes>> {
        let after = query.strip_prefix("after=").and_then(|it| it.parse().ok());
        let messages = lock(&self.messages);
        let later = |message: &&Message| message.number > after.unwrap_or(0);
        let later: Vec<&Message> = messages.iter().filter(later).collect();
        reply(200, &json!(later))
    }
}

impl Trouble {
    async fn answer(self) -> Answer {
        match self {
            Self::Limited { retry_after } => {
                let description = format!("Too Many Requests: retry after {retry_after}");
                let parameters = json!({"retry_after": retry_after});
                Ok(reply(
                    429,
                    &json!({"ok": false, "error_code": 429, "description": description, "parameters": parameters}),
                ))
            }
            Self::Moved { to } => {
                let description = "Bad Request: group chat was upgraded to a supergroup chat";
                let parameters = json!({"migrate_to_chat_id": to});
                Ok(reply(
                    400,
                    &json!({"ok": false, "error_code": 400, "description": description, "parameters": parameters}),
                ))
            }
            Self::Answer {
                status,
                description,
            } => Ok(refusal(status, &description)),
            Self::Dropped => Err(io::Error::other("dropped")),
            Self::Unanswered => std::future::pending().await,
        }
    }
}

/// What people would read, or what Telegram says of it.
fn read(message: &SendMessage) -> Result<String, String> {
    if message.parse_mode != "MarkdownV2" {
        return Err("Bad Request: unsupported parse_mode".to_owned());
    }
    let text = markdown_v2::parse(&message.text)?;
    match text.encode_utf16().count() {
        0 => Err("Bad Request: message text is empty".to_owned()),
        1..=LONGEST_TEXT => Ok(text),
        _ => Err("Bad Request: message is too long".to_owned()),
    }
}

fn refusal(status: u16, description: &str) -> Response<Full<Bytes>> {
    reply(
        status,
        &json!({"ok": false, "error_code": status, "description": description}),
    )
}

fn reply(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    *response.status_mut() = hyper::StatusCode::from_u16(status).unwrap_or_default();
    response
}

fn push<T>(list: &mut Vec<T>, item: T) {
    if list.len() == MOST_KEPT {
        list.remove(0);
    }
    list.push(item);
}

/// Each list is whole between any two statements, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
