//! What a broker says before anybody has logged in: its version, on which depends what queues are
//! made of.
//!
//! lapin keeps this to itself, so it takes a connection of its own, which ends after the greeting.

use anyhow::{Context, bail, ensure};
use futures::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use lapin::tcp::{AMQPUriTcpExt, TLSConfig};
use lapin::types::parsing::parse_field_table;
use lapin::uri::AMQPUri;

const HEADER: &[u8] = b"AMQP\x00\x00\x09\x01";
/// Frame type 1 (method) on channel 0.
const METHOD_FRAME: [u8; 3] = [1, 0, 0];
/// Class 10 (connection), method 10 (start), version 0-9.
const START: [u8; 6] = [0, 10, 0, 10, 0, 9];
const LONGEST_GREETING: usize = 64 * 1024;

/// The first two numbers of the broker's version.
///
/// # Errors
/// When the broker cannot be reached or greets in another way.
pub async fn version(address: &AMQPUri) -> anyhow::Result<(u32, u32)> {
    let runtime = lapin::runtime::default_runtime()?;
    let mut stream = address
        .connect_with_config_async(TLSConfig::default(), &runtime)
        .await?;
    stream.write_all(HEADER).await?;
    stream.flush().await?;
    let greeting = read_frame(&mut stream).await?;
    parse_version(&greeting)
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Vec<u8>> {
    let mut head = [0; 7];
    stream.read_exact(&mut head).await?;
    ensure!(
        head[..3] == METHOD_FRAME,
        "the other side is no AMQP broker"
    );
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
    ensure!(size <= LONGEST_GREETING, "the greeting is too long");
    let mut frame = vec![0; size];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

fn parse_version(greeting: &[u8]) -> anyhow::Result<(u32, u32)> {
    let Some(properties) = greeting.strip_prefix(&START) else {
        bail!("the broker does not speak AMQP 0-9-1");
    };
    let (_, properties) = parse_field_table(properties)
        .ok()
        .context("the broker's properties cannot be read")?;
    let version = properties
        .inner()
        .get("version")
        .and_then(|it| it.as_long_string());
    let version = version
        .context("the broker does not tell its version")?
        .to_string();
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    match (numbers.next().flatten(), numbers.next().flatten()) {
        (Some(major), Some(minor)) => Ok((major, minor)),
        _ => bail!("the broker's version is no number: {version}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting(version: &[u8]) -> Vec<u8> {
        let mut table = b"\x07productS\x00\x00\x00\x08RabbitMQ\x07versionS".to_vec();
        table.extend((version.len() as u32).to_be_bytes());
        table.extend(version);
        let mut greeting = START.to_vec();
        greeting.extend((table.len() as u32).to_be_bytes());
        greeting.extend(table);
        greeting
    }

    #[test]
    fn of_the_version_the_first_two_numbers_count() {
        assert_eq!(parse_version(&greeting(b"3.10.8")).ok(), Some((3, 10)));
        assert_eq!(parse_version(&greeting(b"4.1.0-rc.1")).ok(), Some((4, 1)));
    }

    #[test]
    fn what_is_no_greeting_is_an_error() {
        assert!(parse_version(b"HTTP/1.1 400").is_err());
        assert!(parse_version(&greeting(b"latest")).is_err());
        assert!(parse_version(&greeting(b"3")[..20]).is_err());
    }
}
