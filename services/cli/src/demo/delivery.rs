//! The pull request of the demo: a real payload (see README.md here), made unique, because devart
//! rightly ignores a pull request that it knows already.

use anyhow::{Context, Result};
use rand::RngExt;
use serde_json::Value;
use uuid::Uuid;

const PAYLOAD: &str = include_str!("pull_request.opened.json");

/// What GitHub would send.
pub struct Delivery {
    /// GitHub's id of it.
    pub id: String,
    /// The raw body, which is what the signature is over.
    pub body: Vec<u8>,
    /// Repository and number, for people.
    pub subject: String,
}

/// The payload with a number and a head commit of its own.
pub fn fresh() -> Result<Delivery> {
    let mut payload: Value =
        serde_json::from_str(PAYLOAD).context("reading the example payload")?;
    let mut random = rand::rng();
    let number: u32 = random.random_range(1000..1_000_000);
    let sha: [u8; 20] = random.random();
    payload["number"] = number.into();
    payload["pull_request"]["number"] = number.into();
    payload["pull_request"]["head"]["sha"] = hex::encode(sha).into();
    let repository = payload["repository"]["full_name"]
        .as_str()
        .context("the payload names no repository")?;
    let subject = format!("{repository}#{number}");
    payload["pull_request"]["html_url"] =
        format!("https://github.com/{repository}/pull/{number}").into();
    let body = serde_json::to_vec(&payload).context("writing the payload")?;
    Ok(Delivery {
        id: Uuid::new_v4().to_string(),
        body,
        subject,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_deliveries_are_about_different_pull_requests() {
        let (first, second) = (fresh().expect("one"), fresh().expect("two"));
        assert_ne!(first.id, second.id);
        assert_ne!(first.body, second.body);
    }

    #[test]
    fn the_payload_is_an_opened_pull_request() {
        let payload: Value = serde_json::from_slice(&fresh().expect("one").body).expect("JSON");
        assert_eq!(payload["action"], "opened");
        assert_eq!(payload["number"], payload["pull_request"]["number"]);
    }
}
