//! Limits beside the service's own: of the agent, the task, the run and the person.

use devart_core::candidate::Budget;
use pgrx::datum::Uuid;
use rust_decimal::Decimal;

use super::payer::Payer;
use super::take::Deltas;
use super::usd;
use crate::pg::spi::{Row, Session, statement};
use crate::row_reader::RowReader;

statement!(
    APPLICABLE,
    "select devart_private.budgets_of($1, $2)",
    [UUIDOID, UUIDOID]
);
statement!(
    LOCK,
    include_str!("lock_budgets.sql"),
    [UUIDARRAYOID, BOOLOID]
);
statement!(
    TAKE,
    include_str!("take_budgets.sql"),
    [UUIDARRAYOID, NUMERICOID, NUMERICOID]
);
statement!(
    REACHED,
    "select devart_private.budget_reached($1)",
    [UUIDOID]
);

/// The limits that apply to a payer, locked in the order of their ids.
#[derive(Debug, Clone, Default)]
pub struct Budgets {
    pub limits: Vec<Budget<Uuid>>,
    /// Their open windows.
    pub window_ids: Vec<Uuid>,
    /// What the agent may have set aside at once, when that is limited and asked for.
    pub held: Option<HeldLimit>,
}

/// The limit on what an agent may have set aside at once, in the shape of a budget of the agent's.
pub type HeldLimit = Budget<Uuid>;

impl Budgets {
    /// Locks the limits that apply. `None` when somebody else has locked one of them and `patient`
    /// is false.
    pub fn lock(session: &Session, payer: &Payer, patient: bool) -> Option<Self> {
        let ids = applicable(session, payer);
        let locked = Self::lock_these(session, &ids, patient);
        (locked.limits.len() == ids.len() || patient).then_some(locked)
    }

    /// The same limits as they stand now; they are locked.
    pub fn again(&self, session: &Session) -> Self {
        Self::lock_these(session, &self.ids(), true)
    }

    fn lock_these(session: &Session, ids: &[Uuid], patient: bool) -> Self {
        if ids.is_empty() {
            return Budgets::default();
        }
        LOCK.with(|statement| {
            let rows = statement.rows(session, &[ids.to_vec().into(), patient.into()]);
            let (limits, window_ids) = rows.iter().map(|row| read(&row)).unzip();
            Budgets {
                limits,
                window_ids,
                held: None,
            }
        })
    }

    /// All that limit a hold.
    pub fn all(&self) -> Vec<Budget<Uuid>> {
        self.limits.iter().chain(&self.held).cloned().collect()
    }

    pub fn ids(&self) -> Vec<Uuid> {
        self.limits.iter().map(|budget| budget.id).collect()
    }

    /// As they stand after this much was taken of each.
    pub fn after(mut self, amount: Decimal) -> Self {
        self.limits
            .iter_mut()
            .chain(&mut self.held)
            .for_each(|budget| budget.used += amount);
        self
    }

    /// Adds to what is spent and held; tells people of thresholds that this crosses.
    pub fn take(&self, session: &Session, deltas: Deltas) {
        if self.limits.is_empty() {
            return;
        }
        let reached: Vec<Uuid> = TAKE.with(|statement| {
            let arguments = [
                self.ids().into(),
                usd::datum(deltas.spent).into(),
                usd::datum(deltas.held).into(),
            ];
            let rows = statement.rows(session, &arguments);
            rows.iter()
                .filter(|row| row.required(2))
                .map(|row| row.required(1))
                .collect()
        });
        reached
            .into_iter()
            .for_each(|id| self::reached(session, id));
    }
}

/// Tells people of the thresholds that the budget's spending has reached. It is locked.
pub fn reached(session: &Session, budget_id: Uuid) {
    REACHED.with(|statement| statement.rows(session, &[budget_id.into()]));
}

/// A limit, and its open window. In the order of lock_budgets.sql.
fn read(row: &Row) -> (Budget<Uuid>, Uuid) {
    let mut columns = RowReader::of(row);
    let limit = Budget {
        id: columns.required(),
        scope: columns.label(),
        hard_limit: columns.required(),
        limit: usd::required(&mut columns),
        used: usd::required(&mut columns),
    };
    (limit, columns.required())
}

fn applicable(session: &Session, payer: &Payer) -> Vec<Uuid> {
    if payer.agent_id.is_none() && payer.task_id.is_none() {
        return Vec::new();
    }
    APPLICABLE.with(|statement| {
        let rows = statement.rows(session, &[payer.agent_id.into(), payer.task_id.into()]);
        rows.first().expect("a function gives a row").required(1)
    })
}
