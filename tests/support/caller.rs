//! Who calls: as a role in Postgres with claims, or with a token over HTTP.

use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use uuid::Uuid;

/// The secret that the tests' API checks tokens with.
pub const JWT_SECRET: &str = "a-secret-of-the-tests-that-is-long-enough";

/// Somebody with or without a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caller {
    Anon,
    Person(Uuid),
    Agent(Uuid),
}

impl Caller {
    /// The role in Postgres.
    pub fn role(self) -> &'static str {
        match self {
            Self::Anon => "anon",
            Self::Person(_) => "authenticated",
            Self::Agent(_) => "devart_agent",
        }
    }

    /// The claims of the caller's token; empty without one.
    pub fn claims(self) -> String {
        match self {
            Self::Anon => String::new(),
            Self::Person(id) | Self::Agent(id) => self.claims_of(id).to_string(),
        }
    }

    /// A token that is good for an hour.
    pub fn token(self) -> Option<String> {
        match self {
            Self::Anon => None,
            Self::Person(id) | Self::Agent(id) => Some(sign(&self.claims_of(id), JWT_SECRET)),
        }
    }

    fn claims_of(self, id: Uuid) -> Value {
        json!({
            "sub": id, "role": self.role(), "aud": "authenticated", "iss": "devart",
            "email": "someone@example.org", "exp": seconds_from_now(3600),
        })
    }
}

/// Signs claims with HS256.
pub fn sign(claims: &Value, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key)
        .expect("claims can be signed")
}

/// A moment as JWTs have it.
pub fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    now.as_secs() as i64 + seconds
}
