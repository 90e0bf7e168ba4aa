//! Services that are put off until their provider serves again, and who waits for them.

use std::collections::HashMap;
use std::hash::Hash;

/// A service that was put off, and what stands in for it.
#[derive(Debug, Clone, Copy)]
pub struct Deferred<Id> {
    /// In microseconds, of the same count as every moment here.
    pub until: i64,
    pub substitute: Option<Id>,
}

/// All services that were put off, those whose time is over among them.
#[derive(Debug)]
pub struct Deferrals<Id>(HashMap<Id, Deferred<Id>>);

impl<Id: Copy + Eq + Hash> Deferrals<Id> {
    /// Of these services.
    pub fn new(services: impl IntoIterator<Item = (Id, Deferred<Id>)>) -> Self {
        Deferrals(services.into_iter().collect())
    }

    /// Whether nothing ever waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Until when whoever needs this service waits: until the first of its chain serves again.
    /// `None` while one of them does.
    pub fn waits_until(&self, service: Id, now: i64) -> Option<i64> {
        let mut first = None;
        let mut next = Some(service);
        // A chain of more services than there are would be a circle.
        for _ in 0..=self.0.len() {
            let Some(id) = next else {
                break;
            };
            let deferred = self.0.get(&id).filter(|deferred| deferred.until > now)?;
            first = Some(first.unwrap_or(deferred.until).min(deferred.until));
            next = deferred.substitute;
        }
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deferrals(
        services: &[(&'static str, i64, Option<&'static str>)],
    ) -> Deferrals<&'static str> {
        let of = |&(id, until, substitute)| (id, Deferred { until, substitute });
        Deferrals::new(services.iter().map(of))
    }

    #[test]
    fn who_needs_a_service_waits_until_it_serves_again() {
        let one = deferrals(&[("one", 10, None)]);
        assert_eq!(one.waits_until("one", 9), Some(10));
        assert_eq!(one.waits_until("one", 10), None, "it ends by itself");
        assert_eq!(one.waits_until("other", 9), None);
    }

    #[test]
    fn a_substitute_that_serves_lets_nobody_wait() {
        let one = deferrals(&[("one", 10, Some("two"))]);
        assert_eq!(one.waits_until("one", 9), None);
    }

    #[test]
    fn of_a_chain_the_first_that_serves_again_ends_the_wait() {
        let chain = deferrals(&[
            ("one", 30, Some("two")),
            ("two", 10, Some("three")),
            ("three", 20, None),
        ]);
        assert_eq!(chain.waits_until("one", 5), Some(10));
        assert_eq!(chain.waits_until("one", 10), None, "two serves");
        assert_eq!(chain.waits_until("three", 10), Some(20));
    }

    #[test]
    fn a_circle_ends() {
        let circle = deferrals(&[("one", 10, Some("two")), ("two", 20, Some("one"))]);
        assert_eq!(circle.waits_until("one", 0), Some(10));
    }
}
