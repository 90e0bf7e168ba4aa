//! Rate limits per person or agent, per address, and for logins.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::config::LimitArgs;
use crate::error::{ApiError, ApiResult};

/// Keys that have been quiet for long enough are forgotten this often.
const FORGET_INTERVAL: Duration = Duration::from_secs(60);

/// The limiters of this process.
pub struct Limits {
    principals: DefaultKeyedRateLimiter<Uuid>,
    addresses: DefaultKeyedRateLimiter<IpAddr>,
    logins: DefaultKeyedRateLimiter<IpAddr>,
}

impl Limits {
    /// Limiters with the configured rates; bursts of one period's worth are let through.
    pub fn new(args: &LimitArgs) -> Self {
        Self {
            principals: RateLimiter::keyed(Quota::per_second(args.requests_per_principal)),
            addresses: RateLimiter::keyed(Quota::per_second(args.requests_per_address)),
            logins: RateLimiter::keyed(Quota::per_minute(args.logins_per_address)),
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

    /// Counts an attempt to log in.
    ///
    /// # Errors
    /// 429 when there were too many.
    pub fn count_login(&self, address: IpAddr) -> ApiResult<()> {
        self.logins.check_key(&address).map_err(|_| too_many())
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
            }
        });
    }
}

fn too_many() -> ApiError {
    let detail = "too many requests; slow down";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn limits(per_principal: u32) -> Limits {
        let rate = NonZeroU32::new(per_principal).expect("positive");
        Limits::new(&LimitArgs {
            requests_per_principal: rate,
            requests_per_address: rate,
            logins_per_address: rate,
            trust_forwarded_for: false,
        })
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
}
