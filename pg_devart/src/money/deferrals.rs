//! Services that are put off (devart.defer_service), as sessions keep them in memory: what a claim or
//! a new task asks costs nothing (src/pg/cached.rs).

use std::rc::Rc;

use devart_core::deferral::{self, Deferred};
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::prelude::*;

use crate::pg::cached;
use crate::pg::clock;
use crate::pg::index::{Index, Purpose};
use crate::pg::spi::{self, Session};

const DEFERRED: Index = Index {
    schema: c"devart",
    table: c"service_registry",
    name: c"service_registry_deferred_idx",
};

/// All services that were put off.
pub type Deferrals = deferral::Deferrals<Uuid>;

/// Those of this moment.
pub fn current() -> Rc<Deferrals> {
    cached::get_by(&DEFERRED, "deferrals", || spi::connect(read))
}

/// Until when a task of this service waits; `None` when it need not.
pub fn waits_until(service_id: Uuid) -> Option<TimestampWithTimeZone> {
    let until = current().waits_until(service_id, clock::now_us())?;
    Some(until.try_into().expect("it was a timestamp"))
}

fn read(session: &Session) -> Deferrals {
    // The tables of an older devart, which is just being migrated, know nothing of this.
    if !DEFERRED.exists() {
        return Deferrals::new([]);
    }
    DEFERRED.scan(session, Purpose::Read, 0, |scan| {
        scan.seek(&[]);
        let mut services = Vec::new();
        while let Some(service) = scan.next() {
            let until: TimestampWithTimeZone = service.required(c"deferred_until");
            let deferred = Deferred {
                until: until.into(),
                substitute: service.get(c"substitute_service_id"),
            };
            services.push((service.required(c"id"), deferred));
        }
        Deferrals::new(services)
    })
}

#[pg_schema]
mod devart_private {
    use super::*;

    /// Until when a task of this service waits for its provider, or for the first of its
    /// substitutes that serves again; null when it need not wait.
    #[pg_extern(stable, parallel_unsafe)]
    fn service_waits_until(service_id: Uuid) -> Option<TimestampWithTimeZone> {
        super::waits_until(service_id)
    }
}
