//! The ledger: rows that are only ever added, and the holds that they tell of.

use devart_core::status::ChargeKind;
use pgrx::JsonB;
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use rust_decimal::Decimal;

use super::payer::Payer;
use super::usd;
use crate::pg::spi::{Session, statement};

statement!(
    RECORD,
    include_str!("record.sql"),
    [
        UUIDOID,
        UUIDOID,
        UUIDARRAYOID,
        UUIDOID,
        UUIDOID,
        UUIDOID,
        INT4OID,
        NUMERICOID,
        JSONBOID,
        TEXTOID,
        TEXTOID,
        UUIDOID,
        UUIDOID,
        TEXTOID
    ]
);
statement!(
    HOLD,
    include_str!("hold.sql"),
    [
        UUIDOID,
        UUIDOID,
        UUIDARRAYOID,
        UUIDARRAYOID,
        NUMERICOID,
        UUIDOID,
        UUIDOID,
        INT4OID,
        BOOLOID,
        JSONBOID,
        JSONBOID,
        UUIDOID,
        FLOAT8OID,
        TEXTOID,
        BOOLOID
    ]
);

/// Where a row of the ledger belongs.
pub struct Place<'a> {
    pub service_id: Uuid,
    pub window_id: Uuid,
    pub budget_window_ids: &'a [Uuid],
    pub payer: &'a Payer,
    pub delegated_from: Option<Uuid>,
}

/// A row of the ledger.
pub struct Entry<'a> {
    pub kind: ChargeKind,
    pub amount: Decimal,
    pub usage: Option<JsonB>,
    pub hold_id: Option<Uuid>,
    pub idempotency_key: Option<&'a str>,
    /// The row that an adjustment corrects, and why.
    pub correction: Option<(Uuid, &'static str)>,
}

impl Place<'_> {
    /// Appends to the ledger.
    pub fn record(&self, session: &Session, entry: Entry) {
        let windows = Some(self.budget_window_ids).filter(|windows| !windows.is_empty());
        let arguments = [
            self.service_id.into(),
            self.window_id.into(),
            windows.map(<[Uuid]>::to_vec).into(),
            entry.hold_id.into(),
            self.payer.task_id.into(),
            self.payer.agent_id.into(),
            self.payer.attempt.into(),
            usd::datum(entry.amount).into(),
            entry.usage.into(),
            entry.kind.as_str().into(),
            entry.idempotency_key.map(str::to_owned).into(),
            self.delegated_from.into(),
            entry.correction.map(|(corrects, _)| corrects).into(),
            entry.correction.map(|(_, why)| why).into(),
        ];
        RECORD.with(|statement| statement.rows(session, &arguments));
    }
}

/// A hold to make.
pub struct NewHold<'a> {
    pub amount: Decimal,
    pub budget_ids: Vec<Uuid>,
    pub usage: Option<JsonB>,
    pub prices: Option<JsonB>,
    pub ttl_seconds: f64,
    /// Made by a claim, or for one.
    pub follows_lease: bool,
    /// Whether its call can go out at once.
    pub dispatched: bool,
    pub idempotency_key: Option<&'a str>,
}

impl Place<'_> {
    /// Makes a hold and its row in the ledger; gives its id and when it expires.
    pub fn hold(&self, session: &Session, hold: NewHold) -> (Uuid, TimestampWithTimeZone) {
        let arguments = [
            self.service_id.into(),
            self.window_id.into(),
            hold.budget_ids.into(),
            self.budget_window_ids.to_vec().into(),
            usd::datum(hold.amount).into(),
            self.payer.task_id.into(),
            self.payer.agent_id.into(),
            self.payer.attempt.into(),
            hold.follows_lease.into(),
            hold.usage.into(),
            hold.prices.into(),
            self.delegated_from.into(),
            hold.ttl_seconds.into(),
            hold.idempotency_key.map(str::to_owned).into(),
            hold.dispatched.into(),
        ];
        HOLD.with(|statement| {
            let rows = statement.rows(session, &arguments);
            let row = rows.first().expect("an insert returning gives a row");
            (row.required(1), row.required(2))
        })
    }
}
