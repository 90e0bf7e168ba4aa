//! The client against servers that answer as they are told to.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing_subscriber::fmt::MakeWriter;

use super::*;

const SECRET: &str = "hunter2";

/// A server that reads one request, answers with this text and hangs up. Gives its address, and
/// what it has read.
async fn server(answer: &'static str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).await.expect("a request");
        stream
            .write_all(answer.as_bytes())
            .await
            .expect("an answer");
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    (address, task)
}

/// A server that takes connections and never says a word.
async fn silence() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    (address, listener)
}

fn client(scheme: &str, address: &str, options: HttpOptions) -> HttpClient {
    HttpClient::new(&format!("{scheme}://{address}/bot{SECRET}"), options).expect("a client")
}

async fn ask(client: &HttpClient) -> Result<HttpAnswer, HttpError> {
    client.post_json("say", &json!({"text": "hello"})).await
}

async fn refusal(client: &HttpClient) -> HttpError {
    ask(client).await.err().expect("no answer")
}

fn small() -> HttpOptions {
    HttpOptions {
        largest_answer: 4,
        ..HttpOptions::default()
    }
}

fn impatient() -> HttpOptions {
    HttpOptions {
        timeout: Duration::from_millis(50),
        ..HttpOptions::default()
    }
}

const FOUR_BYTES: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n1234";
const FIVE_BYTES_IN_CHUNKS: &str =
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n2\r\n45\r\n0\r\n\r\n";
const CUT: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n123";

#[tokio::test]
async fn json_goes_to_the_path_below_the_base_and_the_answer_comes_back() {
    let (address, request) = server(FOUR_BYTES).await;
    let answer = ask(&client("http", &address, small())).await.ok();
    let answer = answer.expect("an answer");
    assert_eq!(
        (answer.status, &*answer.body),
        (StatusCode::OK, &b"1234"[..])
    );
    assert_eq!(answer.headers["content-length"], "4");
    let request = request.await.expect("no panic");
    assert!(
        request.starts_with("POST /bothunter2/say HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(request.ends_with(r#"{"text":"hello"}"#), "{request}");
}

#[tokio::test]
async fn an_answer_larger_than_the_limit_is_refused() {
    let (address, _server) = server(FIVE_BYTES_IN_CHUNKS).await;
    let error = refusal(&client("http", &address, small())).await;
    assert_eq!(error, HttpError::TooLarge(4));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (elsewhere, _server) = server(FOUR_BYTES).await;
    let redirect = format!(
        "HTTP/1.1 307 Elsewhere\r\nLocation: http://{elsewhere}/\r\nContent-Length: 0\r\n\r\n"
    );
    let (address, _server) = server(redirect.leak()).await;
    let answer = ask(&client("http", &address, small())).await.ok();
    assert_eq!(
        answer.expect("an answer").status,
        StatusCode::TEMPORARY_REDIRECT
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_does_not_come_is_told_apart_from_nobody() {
    let (address, _server) = server(CUT).await;
    let cut = refusal(&client("http", &address, HttpOptions::default())).await;
    assert!(matches!(cut, HttpError::BrokenOff(_)), "{cut:?}");
    let (address, listener) = silence().await;
    let late = refusal(&client("http", &address, impatient())).await;
    assert_eq!(late, HttpError::TimedOut(impatient().timeout));
    drop(listener);
    let nobody = refusal(&client("http", &address, HttpOptions::default())).await;
    assert!(matches!(nobody, HttpError::Unreachable(_)), "{nobody:?}");
}

#[tokio::test]
async fn a_proxy_is_used_when_one_is_given() {
    let (proxy, request) = server(FOUR_BYTES).await;
    let options = HttpOptions {
        proxy: Some(format!("http://{proxy}").into()),
        ..small()
    };
    ask(&client("http", "server.invalid", options))
        .await
        .expect("an answer");
    let request = request.await.expect("no panic");
    assert!(
        request.starts_with("POST http://server.invalid/bothunter2/say "),
        "{request}"
    );
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_refused_without_being_repeated() {
    for base in [
        "hunter2",
        "http://hunter2 x",
        "ftp://h/hunter2",
        "http://h/?hunter2",
        "http://h/#hunter2",
    ] {
        let error = HttpClient::new(base, HttpOptions::default()).expect_err("refused");
        assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
    }
    let options = HttpOptions {
        proxy: Some("ftp://hunter2 x".into()),
        ..HttpOptions::default()
    };
    let error = HttpClient::new("http://h", options).expect_err("refused");
    assert!(!format!("{error:?}").contains(SECRET), "{error:?}");
}

#[tokio::test]
async fn no_error_no_debug_output_and_no_log_shows_the_address() {
    let log = Log::install();
    let mut shown = Vec::new();
    let (closed, listener) = silence().await;
    drop(listener);
    let (silent, _listener) = silence().await;
    let (cut, _server) = server(CUT).await;
    let (long, _server) = server(FIVE_BYTES_IN_CHUNKS).await;
    let (nonsense, _server) = server("hello\r\n\r\n").await;
    let (plain, _server) = server(FOUR_BYTES).await;
    for (scheme, address, options) in [
        ("http", &closed, small()),
        ("https", &closed, small()),
        ("http", &silent, impatient()),
        ("http", &cut, HttpOptions::default()),
        ("http", &long, small()),
        ("http", &nonsense, small()),
        ("https", &plain, small()),
        ("http", &"no-such-host.invalid".to_owned(), small()),
    ] {
        let client = client(scheme, address, options);
        let error = refusal(&client).await;
        shown.push(format!("{client:?} {error:?} {error}"));
    }
    let shown = shown.join("\n");
    assert!(!shown.contains(SECRET), "{shown}");
    assert!(!shown.contains("/say"), "{shown}");
    let logged = log.text();
    assert!(
        logged.contains("starting new connection"),
        "nothing was logged: {logged}"
    );
    assert!(!logged.contains(SECRET), "{logged}");
}

/// All that this process logs, of every library and at every level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn install() -> Self {
        let log = Self::default();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .init();
        log
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
