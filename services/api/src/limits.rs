//! Rate limits per person or agent, per address, and for logins; and what one person or agent may
//! have under way at the same time.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use devart_kit::config::PoolArgs;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::LimitArgs;
use crate::error::{ApiError, ApiResult};
use crate::http::body_room::BodyRoom;
use crate::turns::Turns;

/// Keys that have been quiet for long enough are forgotten this often.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// One search of a person at a time: with two connections for all, a second one would take those
/// of others.
const SEARCHES_AT_ONCE: usize = 1;

/// The limiters of this process.
pub struct Limits {
    principals: DefaultKeyedRateLimiter<Uuid>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    logins: DefaultKeyedRateLimiter<IpAddr>,
    /// By a hash of the address of e-mail, which may be of any length.
    logins_to: DefaultKeyedRateLimiter<[u8; 32]>,
    /// Of agents, at the broker, by a hash of all that is presented.
    broker_logins: DefaultKeyedRateLimiter<[u8; 32]>,
    /// Requests of people.
    pub people: Turns<Uuid>,
    /// Requests of agents.
    pub agents: Turns<Uuid>,
    /// Searches of people.
    pub searches: Turns<Uuid>,
    /// Bodies of those who are not known yet.
    pub bodies: BodyRoom,
}

impl Limits {
    /// Limiters with the configured rates; bursts of one period's worth are let through. Who waits
    /// for a turn does so for as long as for a connection.
    pub fn new(args: &LimitArgs, pool: &PoolArgs) -> Self {
        let patience = pool.acquire_timeout;
        // One agent leaves half of the connections to the others.
        let requests_at_once_per_agent = pool.max_connections.div_ceil(2).max(1) as usize;
        Self {
            principals: RateLimiter::keyed(Quota::per_second(args.requests_per_principal)),
            addresses: RateLimiter::keyed(Quota::per_second(args.requests_per_address)),
            logins: RateLimiter::keyed(Quota::per_minute(args.logins_per_address)),
            logins_to: RateLimiter::keyed(Quota::per_minute(args.logins_per_account)),
            broker_logins: RateLimiter::keyed(Quota::per_minute(args.broker_logins_per_agent)),
            people: Turns::new(args.requests_at_once_per_person.get(), patience),
            agents: Turns::new(requests_at_once_per_agent, patience),
            searches: Turns::new(SEARCHES_AT_ONCE, patience),
            bodies: BodyRoom::default(),
        }
    }

    /// Counts a request of a person or an agent.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub fn count_principal(&self, id: Uuid) -> ApiResult<()> {
        self.principals.check_key(&id).map_err(|_| too_many())
    }

    /// Counts a request from an address.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub fn count_address(&self, address: IpAddr) -> ApiResult<()> {
        self.addresses.check_key(&address).map_err(|_| too_many())
    }

    /// Counts an attempt to log in from this address to the account of this e-mail.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub fn count_login(&self, address: IpAddr, email: &str) -> ApiResult<()> {
        let account = Sha256::digest(email.trim().to_lowercase()).into();
        self.logins.check_key(&address).map_err(|_| too_many())?;
        self.logins_to.check_key(&account).map_err(|_| too_many())
    }

    /// Counts an attempt to log in to the broker under this agent's name with this key. By both:
    /// who does not have the key keeps nobody who has it from logging in. Not by address: all come
    /// from the broker.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub fn count_broker_login(&self, agent_id: Uuid, key: &SecretString) -> ApiResult<()> {
        let presented = Sha256::new()
            .chain_update(agent_id)
            .chain_update(key.expose_secret());
        let counted = self.broker_logins.check_key(&presented.finalize().into());
        counted.map_err(|_| too_many())
    }

    /// Forgets quiet keys until shutdown, so that memory does not grow with every caller ever seen.
    pub fn forget_quiet_keys(self: Arc<Self>, shutdown: CancellationToken) {
        tokio::spawn(async move {
            while shutdown
                .run_until_cancelled(tokio::time::sleep(FORGET_INTERVAL))
                .await
                .is_some()
            {
                self.principals.retain_recent();
                self.addresses.retain_recent();
                self.logins.retain_recent();
                self.logins_to.retain_recent();
                self.broker_logins.retain_recent();
                self.people.forget_quiet_keys();
                self.agents.forget_quiet_keys();
                self.searches.forget_quiet_keys();
                self.bodies.forget_quiet_keys();
            }
        });
    }
}

pub(crate) fn too_many() -> ApiError {
    let detail = "too many requests; slow down";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroUsize};

    use devart_kit::config::Pooler;

    use super::*;

    fn limits(per_principal: u32) -> Limits {
        let rate = NonZeroU32::new(per_principal).expect("positive");
        let args = LimitArgs {
            requests_per_principal: rate,
            requests_per_address: rate,
            requests_at_once_per_person: NonZeroUsize::MIN,
            logins_per_address: NonZeroU32::MAX,
            logins_per_account: rate,
            broker_logins_per_agent: rate,
            trust_forwarded_for: false,
        };
        let pool = PoolArgs {
            max_connections: 2,
            acquire_timeout: Duration::ZERO,
            statement_timeout: Duration::ZERO,
            pooler: Pooler::None,
            direct_url: None,
        };
        Limits::new(&args, &pool)
    }

    #[test]
    fn one_busy_principal_does_not_slow_another() {
        let limits = limits(2);
        let (busy, quiet) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(limits.count_principal(busy).is_ok());
        assert!(limits.count_principal(busy).is_ok());
        let refused = limits
            .count_principal(busy)
            .expect_err("the third is too many");
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(limits.count_principal(quiet).is_ok());
    }

    #[test]
    fn one_agent_that_connects_again_and_again_keeps_no_other_from_the_broker() {
        let limits = limits(1);
        let (busy, quiet) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let key = SecretString::from("its key");
        assert!(limits.count_broker_login(busy, &key).is_ok());
        assert!(limits.count_broker_login(busy, &key).is_err());
        assert!(limits.count_broker_login(quiet, &key).is_ok());
    }

    #[test]
    fn wrong_keys_of_an_agent_are_not_counted_against_its_right_one() {
        let limits = limits(1);
        let agent = Uuid::from_u128(1);
        for wrong in ["a", "b", "b"] {
            let _ = limits.count_broker_login(agent, &wrong.into());
        }
        assert!(limits.count_broker_login(agent, &"right".into()).is_ok());
    }

    #[test]
    fn attempts_on_one_account_are_counted_wherever_they_come_from() {
        let limits = limits(2);
        let from = |last: u8| IpAddr::from([192, 0, 2, last]);
        assert!(limits.count_login(from(1), "ada@example.org").is_ok());
        assert!(limits.count_login(from(2), " Ada@example.org").is_ok());
        assert!(limits.count_login(from(3), "ADA@example.org").is_err());
        assert!(limits.count_login(from(3), "eve@example.org").is_ok());
    }
}
