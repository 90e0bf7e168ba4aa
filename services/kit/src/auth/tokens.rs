//! JSON Web Tokens: HS256 and nothing else, with exp, aud and iss checked.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::agent_key::PresentedKey;
use super::error::{AuthError, AuthResult};
use super::identity::Identity;
use crate::db::{Caller, Role};

/// The audience of every token, people's and agents', as Supabase has it.
pub const AUDIENCE: &str = "authenticated";

/// How long an agent's exchanged token lasts.
pub const AGENT_TOKEN_LIFETIME: Duration = Duration::from_secs(15 * 60);
/// How long a person's session lasts.
pub const SESSION_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// How far ahead another machine's clock may be.
const NOT_BEFORE_LEEWAY: f64 = 30.0;
const RECOMMENDED_SECRET_BYTES: usize = 32;

/// Checks tokens, and signs those of the embedded issuer.
pub struct Tokens {
    signing: EncodingKey,
    checking: DecodingKey,
    issuers: Vec<String>,
}

impl Tokens {
    /// A token checker for one secret. The first issuer signs.
    ///
    /// # Errors
    /// When the secret is empty or there is no issuer.
    pub fn new(secret: &SecretString, issuers: Vec<String>) -> anyhow::Result<Self> {
        let secret = secret.expose_secret().as_bytes();
        ensure!(
            !secret.is_empty(),
            "SUPABASE_JWT_SECRET is empty: anybody could sign tokens"
        );
        ensure!(
            !issuers.is_empty(),
            "API_JWT_ISSUERS is empty: no token could be accepted"
        );
        if secret.len() < RECOMMENDED_SECRET_BYTES {
            tracing::warn!("SUPABASE_JWT_SECRET is shorter than {RECOMMENDED_SECRET_BYTES} bytes");
        }
        Ok(Self {
            signing: EncodingKey::from_secret(secret),
            checking: DecodingKey::from_secret(secret),
            issuers,
        })
    }

    /// Whose token this is, and the role and claims the database sees.
    ///
    /// # Errors
    /// Refused when the token is forged, expired, for somebody else, or names no person or agent.
    pub fn verify(&self, token: &str) -> AuthResult<(Identity, Caller)> {
        let claims = self.signed_claims(token)?;
        self.check_registered_claims(&claims, now())?;
        let role = text(&claims, "role").and_then(Role::from_claim);
        let id = text(&claims, "sub").and_then(|sub| Uuid::parse_str(sub).ok());
        let (identity, role) = match (role, id) {
            (Some(Role::Authenticated), Some(id)) => {
                let email = text(&claims, "email").map(str::to_owned);
                (Identity::Person { id, email }, Role::Authenticated)
            }
            (Some(Role::DevartAgent), Some(id)) => (Identity::Agent { id }, Role::DevartAgent),
            _ => {
                return Err(AuthError::refused("the token names no person and no agent"));
            }
        };
        Ok((identity, Caller::new(role, &Value::Object(claims))))
    }

    /// What the database sees of an agent that showed its key.
    pub fn agent_caller(&self, agent_id: Uuid, key: &PresentedKey) -> Caller {
        Caller::new(Role::DevartAgent, &self.agent_claims(agent_id, key))
    }

    /// A token of [`AGENT_TOKEN_LIFETIME`] for an agent that showed its key. It counts as long as
    /// the key does: the database looks at each call.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue_for_agent(&self, agent_id: Uuid, key: &PresentedKey) -> AuthResult<String> {
        self.sign(self.agent_claims(agent_id, key), AGENT_TOKEN_LIFETIME)
            .map(|(token, _)| token)
    }

    /// A session of [`SESSION_LIFETIME`] for a person, and the second it expires.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn issue_for_person(&self, user_id: Uuid, email: &str) -> AuthResult<(String, i64)> {
        let claims = json!({
            "sub": user_id,
            "role": Role::Authenticated.as_str(),
            "aud": AUDIENCE,
            "iss": self.issuers[0],
            "email": email,
        });
        self.sign(claims, SESSION_LIFETIME)
    }

    fn agent_claims(&self, agent_id: Uuid, key: &PresentedKey) -> Value {
        json!({
            "sub": agent_id,
            "key_id": key.id(),
            "role": Role::DevartAgent.as_str(),
            "aud": AUDIENCE,
            "iss": self.issuers[0],
        })
    }

    fn sign(&self, mut claims: Value, lifetime: Duration) -> AuthResult<(String, i64)> {
        let issued_at = now() as i64;
        let expires_at = issued_at + lifetime.as_secs() as i64;
        claims["iat"] = json!(issued_at);
        claims["exp"] = json!(expires_at);
        let token = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)?;
        Ok((token, expires_at))
    }

    /// The registered claims are checked by us: this workspace builds serde_json with arbitrary
    /// precision (money), under which jsonwebtoken takes every number for malformed.
    fn signed_claims(&self, token: &str) -> AuthResult<Map<String, Value>> {
        let mut validation = Validation::new(Algorithm::HS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode(token, &self.checking, &validation)
            .map(|data| data.claims)
            .map_err(|_| AuthError::refused("the token is malformed or its signature is wrong"))
    }

    fn check_registered_claims(&self, claims: &Map<String, Value>, now: f64) -> AuthResult<()> {
        match seconds(claims, "exp") {
            Some(expires_at) if expires_at > now => {}
            Some(_) => return Err(AuthError::refused("the token has expired")),
            None => return Err(AuthError::refused("the token has no expiry")),
        }
        let too_early = seconds(claims, "nbf").is_some_and(|at| at > now + NOT_BEFORE_LEEWAY);
        if too_early {
            return Err(AuthError::refused("the token is not valid yet"));
        }
        if !is_for_us(claims.get("aud")) {
            return Err(AuthError::refused("the token is for another audience"));
        }
        let issuer = text(claims, "iss");
        if !issuer.is_some_and(|issuer| self.issuers.iter().any(|known| known == issuer)) {
            return Err(AuthError::refused("the token is from another issuer"));
        }
        Ok(())
    }
}

/// One audience or several, as RFC 7519 allows.
fn is_for_us(audience: Option<&Value>) -> bool {
    match audience {
        Some(Value::String(one)) => one == AUDIENCE,
        Some(Value::Array(several)) => several.iter().any(|one| one == AUDIENCE),
        _ => false,
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

/// NumericDate may have a fraction.
fn seconds(claims: &Map<String, Value>, name: &str) -> Option<f64> {
    claims.get(name)?.as_f64()
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a-test-secret-of-thirty-two-bytes";

    fn tokens() -> Tokens {
        Tokens::new(
            &SECRET.into(),
            vec!["devart".to_owned(), "other".to_owned()],
        )
        .expect("valid")
    }

    fn claims() -> Value {
        json!({
            "sub": Uuid::nil(), "role": "authenticated", "aud": "authenticated", "iss": "devart",
            "exp": now() as i64 + 60, "email": "a@example.org",
        })
    }

    fn token_with(name: &str, value: Value) -> String {
        let mut claims = claims();
        claims[name] = value;
        sign(Algorithm::HS256, &claims, SECRET)
    }

    fn sign(algorithm: Algorithm, claims: &Value, secret: &str) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).expect("signable")
    }

    #[test]
    fn a_good_token_names_its_person() {
        let (identity, _) = tokens()
            .verify(&sign(Algorithm::HS256, &claims(), SECRET))
            .expect("good");
        let email = Some("a@example.org".to_owned());
        assert_eq!(
            identity,
            Identity::Person {
                id: Uuid::nil(),
                email
            }
        );
    }

    #[test]
    fn our_own_tokens_verify() {
        let id = Uuid::from_u128(7);
        let key = PresentedKey::parse(&devart_core::api_key::generate()).expect("valid");
        let agent = tokens().issue_for_agent(id, &key).expect("signable");
        assert_eq!(
            tokens().verify(&agent).expect("good").0,
            Identity::Agent { id }
        );
        let (person, _) = tokens()
            .issue_for_person(id, "a@example.org")
            .expect("signable");
        assert_eq!(tokens().verify(&person).expect("good").0.id(), id);
    }

    #[test]
    fn a_token_with_any_wrong_claim_is_refused() {
        for (name, value) in [
            ("exp", json!(now() as i64 - 1)),
            ("exp", Value::Null),
            ("exp", json!("soon")),
            ("nbf", json!(now() as i64 + 600)),
            ("aud", json!("somebody else")),
            ("aud", Value::Null),
            ("iss", json!("evil")),
            ("iss", Value::Null),
            ("sub", json!("not a uuid")),
            ("role", json!("service_role")),
            ("role", json!("anon")),
            ("role", Value::Null),
        ] {
            let refused = tokens().verify(&token_with(name, value.clone()));
            assert!(
                matches!(refused, Err(AuthError::Refused(_))),
                "{name}={value}"
            );
        }
    }

    #[test]
    fn several_audiences_and_a_second_issuer_are_accepted() {
        assert!(
            tokens()
                .verify(&token_with("aud", json!(["x", "authenticated"])))
                .is_ok()
        );
        assert!(tokens().verify(&token_with("iss", json!("other"))).is_ok());
    }

    #[test]
    fn other_algorithms_and_secrets_are_refused() {
        assert!(
            tokens()
                .verify(&sign(Algorithm::HS512, &claims(), SECRET))
                .is_err()
        );
        assert!(
            tokens()
                .verify(&sign(Algorithm::HS256, &claims(), "another secret"))
                .is_err()
        );
        assert!(tokens().verify("eyJhbGciOiJub25lIn0.e30.").is_err());
        assert!(tokens().verify("").is_err());
    }

    #[test]
    fn an_empty_secret_is_refused_at_start() {
        assert!(Tokens::new(&"".into(), vec!["devart".to_owned()]).is_err());
    }
}
