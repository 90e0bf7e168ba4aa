//! A hold: money that is set aside, until it is settled, released or expires.

use devart_core::price::Prices;
use devart_core::settlement::Held;
use devart_core::status::HoldStatus;
use pgrx::JsonB;
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use rust_decimal::Decimal;
use serde_json::Value;

use super::payer::Payer;
use super::{prices, usd};
use crate::error::Error;
use crate::pg::spi::{Row, Session, statement};
use crate::row_reader::RowReader;

statement!(LOCK, include_str!("lock_hold.sql"), [UUIDOID]);

/// A hold, locked.
pub struct Hold {
    pub id: Uuid,
    pub service_id: Uuid,
    pub window_id: Uuid,
    pub budget_ids: Vec<Uuid>,
    pub budget_window_ids: Vec<Uuid>,
    pub amount: Decimal,
    status: HoldStatus,
    presumed: bool,
    pub payer: Payer,
    /// Pinned when it was made.
    pub prices: Option<Prices>,
    pub delegated_from: Option<Uuid>,
    /// How it was settled and what was answered, if it was; or what people corrected it to.
    pub settlement: Option<Value>,
    pub created_at: TimestampWithTimeZone,
    pub expires_at: TimestampWithTimeZone,
}

impl Hold {
    /// Locks a hold for the agent that made it, or an operator.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub fn lock(session: &Session, hold_id: Uuid, agent: Option<Uuid>) -> Result<Self, Error> {
        let hold = LOCK.with(|statement| {
            let rows = statement.rows(session, &[hold_id.into()]);
            rows.first().map(|row| Hold::read(hold_id, &row))
        });
        let unknown = || Error::not_found("hold_id", format!("names no hold: {hold_id}"));
        let hold = hold.ok_or_else(unknown)?;
        if agent.is_some() && agent != hold.payer.agent_id {
            return Err(Error::Forbidden("the hold is another agent's"));
        }
        Ok(hold)
    }

    /// In the order of lock_hold.sql.
    fn read(id: Uuid, row: &Row) -> Self {
        let mut columns = RowReader::of(row);
        Hold {
            id,
            service_id: columns.required(),
            window_id: columns.required(),
            budget_ids: columns.required(),
            budget_window_ids: columns.required(),
            amount: usd::required(&mut columns),
            status: columns.label(),
            payer: Payer {
                task_id: columns.optional(),
                agent_id: columns.optional(),
                attempt: columns.optional(),
            },
            prices: columns
                .optional()
                .and_then(|JsonB(json)| Prices::from_json(&json)),
            delegated_from: columns.optional(),
            settlement: columns.optional().map(|JsonB(json)| json),
            created_at: columns.required(),
            presumed: columns.required(),
            expires_at: columns.required(),
        }
    }

    /// How its money stands.
    pub fn held(&self) -> Held {
        match self.status {
            HoldStatus::Held => Held::Open(self.amount),
            HoldStatus::Settled if self.presumed => Held::Presumed(self.amount),
            _ => Held::GivenBack,
        }
    }

    /// The prices that its usage is reckoned at: those pinned on it, or of when it was made.
    pub fn prices_then(&self, session: &Session) -> Option<Prices> {
        let pinned = self.prices.clone();
        pinned.or_else(|| prices::of(session, self.service_id, Some(self.created_at)))
    }

    /// Whether its money is still set aside.
    pub fn is_open(&self) -> bool {
        self.status == HoldStatus::Held
    }
}
