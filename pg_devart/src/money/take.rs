//! Taking money from a service: on condition, or for sure.

use devart_core::status::ServiceState;
use pgrx::datum::Uuid;
use rust_decimal::Decimal;

use super::payer::Payer;
use super::usd;
use crate::pg::spi::{Session, statement};
use crate::row_reader::RowReader;

statement!(
    TAKE,
    include_str!("take.sql"),
    [
        UUIDOID, NUMERICOID, NUMERICOID, UUIDOID, UUIDOID, BOOLOID, BOOLOID
    ]
);
statement!(
    TAKE_LOCKED,
    include_str!("take_locked.sql"),
    [UUIDOID, NUMERICOID, NUMERICOID]
);
statement!(
    REACHED,
    "select devart_private.service_reached($1)",
    [UUIDOID]
);
statement!(
    STATUS,
    "select s.status::text from devart.service_registry s where s.id = $1",
    [UUIDOID]
);

/// What a request adds, in US dollars.
#[derive(Debug, Clone, Copy)]
pub struct Deltas {
    pub spent: Decimal,
    pub held: Decimal,
}

/// How a service stands after money was taken.
pub struct Taken {
    pub window_id: Uuid,
    pub spent: Decimal,
    /// What is left of a hard limit.
    pub room: Option<Decimal>,
    pub suspended: bool,
}

impl Taken {
    /// The first columns of take.sql and take_locked.sql.
    fn read(columns: &mut RowReader) -> Self {
        Taken {
            window_id: columns.required(),
            spent: usd::required(columns),
            room: usd::optional(columns),
            suspended: columns.required(),
        }
    }
}

/// Takes the money on condition that it is there and that nobody must be told. `looked`: budgets
/// and substitutes are seen to. `waits`: not from a service that is deferred.
pub fn on_condition(
    session: &Session,
    service_id: Uuid,
    deltas: Deltas,
    payer: &Payer,
    looked: bool,
    waits: bool,
) -> Option<Taken> {
    TAKE.with(|statement| {
        let arguments = [
            service_id.into(),
            usd::datum(deltas.spent).into(),
            usd::datum(deltas.held).into(),
            payer.agent_id.into(),
            payer.task_id.into(),
            looked.into(),
            waits.into(),
        ];
        let rows = statement.rows(session, &arguments);
        let row = rows.first()?;
        Some(Taken::read(&mut RowReader::of(&row)))
    })
}

/// Takes the money from a service that is locked and was judged; tells people what is to be told,
/// and suspends.
pub fn for_sure(session: &Session, service_id: Uuid, deltas: Deltas) -> Taken {
    let (taken, is_reached): (Taken, bool) = TAKE_LOCKED.with(|statement| {
        let arguments = [
            service_id.into(),
            usd::datum(deltas.spent).into(),
            usd::datum(deltas.held).into(),
        ];
        let rows = statement.rows(session, &arguments);
        let row = rows.first().expect("the service is locked");
        let mut columns = RowReader::of(&row);
        (Taken::read(&mut columns), columns.required())
    });
    let suspended = taken.suspended || is_reached && reached(session, service_id);
    Taken { suspended, ..taken }
}

/// Tells people that the service's spending reached a threshold or the limit; gives whether it is
/// suspended now. It is locked.
pub fn reached(session: &Session, service_id: Uuid) -> bool {
    REACHED.with(|statement| statement.rows(session, &[service_id.into()]).len());
    STATUS.with(|statement| {
        let rows = statement.rows(session, &[service_id.into()]);
        let status = rows.first().map(|row| RowReader::of(&row).label());
        status == Some(ServiceState::Suspended)
    })
}
