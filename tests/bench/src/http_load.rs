//! Load over HTTP that takes little from the machine it measures: one thread, kept connections,
//! one request written out beforehand.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The same request, sent over and over.
#[derive(Clone)]
pub struct Load {
    pub server: SocketAddr,
    pub request: String,
    /// What each answer must begin with.
    pub expected: &'static str,
    pub connections: u32,
}

impl Load {
    /// Requests answered per second.
    pub fn measure(&self, length: Duration) -> Result<f64> {
        let load = self.clone();
        std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()?
                .block_on(load.run(length))
        })
        .join()
        .map_err(|_| anyhow::anyhow!("the load's thread panicked"))?
    }

    async fn run(&self, length: Duration) -> Result<f64> {
        let connecting = (0..self.connections).map(|_| TcpStream::connect(self.server));
        let connections = try_join_all(connecting).await.context("connecting")?;
        let started = Instant::now();
        let running = connections
            .into_iter()
            .map(|connection| self.repeat(connection, started + length));
        let answered: u64 = try_join_all(running).await?.iter().sum();
        Ok(answered as f64 / started.elapsed().as_secs_f64())
    }

    async fn repeat(&self, mut connection: TcpStream, end: Instant) -> Result<u64> {
        connection.set_nodelay(true)?;
        let mut answer = Vec::with_capacity(4096);
        let mut answered = 0;
        while Instant::now() < end {
            connection.write_all(self.request.as_bytes()).await?;
            read_answer(&mut connection, &mut answer).await?;
            ensure!(
                answer.starts_with(self.expected.as_bytes()),
                "{}",
                String::from_utf8_lossy(&answer)
            );
            answered += 1;
        }
        Ok(answered)
    }
}

async fn read_answer(connection: &mut TcpStream, answer: &mut Vec<u8>) -> Result<()> {
    answer.clear();
    while length_of(answer).is_none_or(|length| answer.len() < length) {
        let read = connection.read_buf(answer).await?;
        ensure!(read > 0, "the connection was closed");
    }
    Ok(())
}

/// How long the whole answer is, once its head is there.
fn length_of(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..head]).ok()?;
    let body = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().ok())?
    });
    Some(head + 4 + body.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_head_says() {
        let whole = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(length_of(whole), Some(whole.len()));
        assert_eq!(length_of(&whole[..30]), None);
        assert_eq!(length_of(b"HTTP/1.1 204 No Content\r\n\r\n"), Some(27));
    }
}
