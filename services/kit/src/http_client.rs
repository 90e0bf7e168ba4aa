//! The one HTTP client of the services: HTTP/1.1, TLS by rustls with ring, answers of limited size.
//!
//! A URL may hold a secret (Telegram's holds the bot's token), so no error, no log line and no
//! Debug output of this module shows one. Redirects are not followed, nor is a request repeated:
//! whoever sends it knows better whether that is safe. Proxies of the environment are not asked.

mod error;
mod tls;

use std::fmt;
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use reqwest::header::HeaderMap;
use reqwest::{Client, ClientBuilder, Proxy, RequestBuilder, Response, StatusCode, Url, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

pub use error::HttpError;
pub use tls::install_ring;

const USER_AGENT: &str = concat!("devart/", env!("CARGO_PKG_VERSION"));

/// What one exchange may take, and which way it goes.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// For making a connection, TLS included.
    pub connect_timeout: Duration,
    /// For a whole exchange, from connecting to the answer's last byte.
    pub timeout: Duration,
    /// Longer answers are refused, in bytes.
    pub largest_answer: usize,
    /// URL of the proxy to go through; none goes straight.
    pub proxy: Option<SecretString>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            largest_answer: 64 * 1024,
            proxy: None,
        }
    }
}

/// What a server answered, whatever its status.
pub struct HttpAnswer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// A client of one server.
pub struct HttpClient {
    client: Client,
    base: Url,
    options: HttpOptions,
}

impl HttpClient {
    /// A client whose paths begin at `base`, an address for HTTP or HTTPS.
    ///
    /// # Errors
    /// When an address cannot be used, or this machine trusts no authority for HTTPS. The
    /// addresses are not repeated.
    pub fn new(base: &str, options: HttpOptions) -> anyhow::Result<Self> {
        let base: Url = base.parse().context("it is no URL")?;
        let is_https = base.scheme() == "https";
        ensure!(
            is_https || base.scheme() == "http",
            "it begins with neither https:// nor http://"
        );
        ensure!(base.query().is_none(), "it has a query");
        ensure!(base.fragment().is_none(), "it has a fragment");
        let is_proxy_https = options
            .proxy
            .as_ref()
            .is_some_and(|it| it.expose_secret().starts_with("https:"));
        let tls = if is_https || is_proxy_https {
            tls::trusting_this_machine()?
        } else {
            tls::trusting_nobody()
        };
        Ok(Self {
            client: build(builder(tls), &options)?,
            base,
            options,
        })
    }

    /// Sends JSON to a path below the base.
    ///
    /// # Errors
    /// When there is no answer, or not all of one.
    pub async fn post_json(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<HttpAnswer, HttpError> {
        self.exchange(self.client.post(self.at(path)).json(body))
            .await
    }

    fn at(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        // An address for HTTP always has segments.
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path.split('/'));
        }
        url
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<HttpAnswer, HttpError> {
        let sent = request.send().await;
        let mut response = sent.map_err(|error| self.explain(error, HttpError::Unreachable))?;
        Ok(HttpAnswer {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: self.read(response).await?,
        })
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, HttpError> {
        let mut body = Vec::new();
        loop {
            let piece = response.chunk().await;
            match piece.map_err(|error| self.explain(error, HttpError::BrokenOff))? {
                Some(piece) => body.extend_from_slice(&piece),
                None => return Ok(body),
            }
            if body.len() > self.options.largest_answer {
                return Err(HttpError::TooLarge(self.options.largest_answer));
            }
        }
    }

    fn explain(&self, error: reqwest::Error, otherwise: fn(String) -> HttpError) -> HttpError {
        if error.is_timeout() && !error.is_connect() {
            return HttpError::TimedOut(self.options.timeout);
        }
        otherwise(error::causes(error))
    }
}

/// Says nothing, as the address may hold a secret.
impl fmt::Debug for HttpClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

/// For programs that speak to devart's own servers on this machine, by HTTP and without a secret
/// in an address: no authority is trusted, so none need be installed.
pub fn local() -> ClientBuilder {
    builder(tls::trusting_nobody())
}

fn builder(tls: rustls::ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(USER_AGENT)
}

fn build(builder: ClientBuilder, options: &HttpOptions) -> anyhow::Result<Client> {
    let mut builder = builder
        .connect_timeout(options.connect_timeout)
        .timeout(options.timeout);
    if let Some(proxy) = &options.proxy {
        // What would be said of it could repeat it.
        let proxy = Proxy::all(proxy.expose_secret()).ok();
        builder = builder.proxy(proxy.context("the proxy's address cannot be used")?);
    }
    let client = builder.build();
    client.map_err(|error| anyhow!("no HTTP client can be made: {}", error::causes(error)))
}

#[cfg(test)]
mod tests;
