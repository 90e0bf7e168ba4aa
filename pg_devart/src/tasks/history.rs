//! History: what follows, in the same transaction, from a new task and from a change of its status.
//!
//! Native triggers, because they run three times in the life of every task: written in PL/pgSQL
//! they cost more than the claim and the completion together.

use std::cell::RefCell;

use devart_core::status::TaskStatus;
use devart_core::status_change::{Asking, Consequences, Dependents, Message, consequences};
use pgrx::AllocatedByRust;
use pgrx::datum::Uuid;
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;

use super::dependents::DEPENDENTS;
use super::events::{self, Event};
use crate::pg::index::Key;
use crate::pg::labels::Label;
use crate::pg::new_row::NewRow;
use crate::pg::snapshot;
use crate::pg::spi::{self, Session, statement};
use crate::pg::transition;
use crate::{settings, wake};

statement!(
    INVITE_NEW,
    "select devart_private.send_task_messages('invite', array(
         select t.id from new_tasks t
         where t.status operator(pg_catalog.=) 'TODO'::devart.task_status order by t.ready_at))",
    []
);
statement!(
    BEGIN_LINES,
    "select devart_private.begin_task_lines($1)",
    [UUIDARRAYOID]
);
statement!(
    REQUEST_APPROVAL,
    "select devart_private.request_task_approval($1)",
    [UUIDOID]
);
statement!(
    ASK,
    "select devart_private.ask_about_task($1, $2)",
    [UUIDOID, BOOLOID]
);
statement!(
    CANCEL_IF_HOPELESS,
    "select devart_private.cancel_if_hopeless($1)",
    [UUIDOID]
);
statement!(
    UNBLOCK,
    "select devart_private.unblock_dependents($1)",
    [UUIDOID]
);
statement!(
    BLOCK,
    "select devart_private.block_dependents($1)",
    [UUIDOID]
);
statement!(
    END_HOLDS,
    "select devart_private.end_holds_of_task($1)",
    [UUIDOID]
);
statement!(
    END_WAIT,
    "select devart_private.end_budget_wait($1), devart_private.end_asking($1)",
    [UUIDOID]
);
statement!(
    CANCEL,
    "select devart_private.cancel_dependents($1)",
    [UUIDOID]
);
statement!(
    SEND,
    "select devart_private.send_task_messages($1, array[$2])",
    [TEXTOID, UUIDOID]
);

#[pg_schema]
mod devart_private {
    use super::*;

    /// After update on devart.tasks, for each row: appends to the history when the status changed,
    /// wakes waiting workers for a task that became TODO, lets the dependents of a DONE task go,
    /// asks people about a task that needs them, writes messages for agents that are pushed to, and
    /// frees money.
    #[pg_trigger]
    fn tasks_after_status_change<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByRust>>, ErrorReport> {
        let (old, new) = (NewRow::replaced(trigger), NewRow::of(trigger));
        let (from, to): (Label, Label) = (old.required(c"status"), new.required(c"status"));
        if from != to {
            // As the owner: whoever may change a task need not have a right on all that follows.
            spi::as_owner(trigger, || {
                spi::connect(|session| {
                    record(&old, &new);
                    let has_service = new.get::<Uuid>(c"service_id").is_some();
                    let consequences = consequences(status_of(from), status_of(to), has_service);
                    apply(session, &new, &consequences);
                });
            });
        }
        Ok(None)
    }

    /// After insert on devart.tasks, once per statement, so that bulk inserts stay fast: begins the
    /// tasks' history, requests approvals, wakes waiting workers and writes messages for agents
    /// that are pushed to.
    #[pg_trigger]
    fn tasks_after_insert<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByRust>>, ErrorReport> {
        spi::as_owner(trigger, || {
            let (tasks, children) = begin_history(trigger);
            spi::connect(|session| {
                begin_lines(session, children);
                follow_up_on_new(session, trigger, &tasks);
            });
        });
        Ok(None)
    }
}

/// Gives the new tasks, and the ids of those that have a parent.
fn begin_history(trigger: &PgTrigger) -> (Vec<Event>, Vec<Uuid>) {
    let children = RefCell::new(Vec::new());
    let tasks = transition::read_new(trigger, |row| {
        if row.get::<Uuid>(c"parent_task_id").is_some() {
            children.borrow_mut().push(row.required(c"id"));
        }
        Event {
            task_id: row.required(c"id"),
            from: None,
            to: row.required(c"status"),
            agent_id: row.get(c"agent_id"),
            attempt: row.required(c"attempt"),
            error: None,
        }
    });
    events::append(&tasks);
    (tasks, children.into_inner())
}

/// Notes from whom new tasks descend, whose budgets apply to them, too
/// (sql/idempotent/320_money_scopes.sql).
fn begin_lines(session: &Session, children: Vec<Uuid>) {
    if !children.is_empty() {
        BEGIN_LINES.with(|statement| statement.rows(session, &[children.into()]).len());
    }
}

fn follow_up_on_new(session: &Session, trigger: &PgTrigger, tasks: &[Event]) {
    let mut any_to_do = false;
    for task in tasks {
        match status_of(Label(task.to)) {
            TaskStatus::Todo => any_to_do = true,
            TaskStatus::AwaitingApproval => request_approval(session, task.task_id),
            _ => (),
        }
    }
    if any_to_do {
        wake::wake("tasks");
        invite_new(session, trigger);
    }
}

fn invite_new(session: &Session, trigger: &PgTrigger) {
    if settings::current(session).task_messages {
        spi::register_transition_tables(session, trigger);
        INVITE_NEW.with(|statement| statement.rows(session, &[]).len());
    }
}

fn request_approval(session: &Session, task_id: Uuid) {
    REQUEST_APPROVAL.with(|statement| statement.rows(session, &[task_id.into()]).len());
}

fn record(old: &NewRow, new: &NewRow) {
    let new_error: Option<String> = new.get(c"last_error");
    let event = Event {
        task_id: new.required(c"id"),
        from: Some(old.required::<Label>(c"status").0),
        to: new.required::<Label>(c"status").0,
        agent_id: new.get(c"agent_id").or_else(|| old.get(c"agent_id")),
        attempt: new.required(c"attempt"),
        error: new_error.filter(|error| old.get(c"last_error").as_ref() != Some(error)),
    };
    events::append(&[event]);
}

fn apply(session: &Session, task: &NewRow, consequences: &Consequences) {
    let task_id: Uuid = task.required(c"id");
    if consequences.wakes_workers {
        wake::wake("tasks");
    }
    if let Some(message) = consequences.message {
        send(session, message, task_id);
    }
    if consequences.blocks_dependents {
        if_has_dependents(session, task_id, &BLOCK);
    }
    match consequences.dependents {
        Some(Dependents::Unblock) => if_has_dependents(session, task_id, &UNBLOCK),
        Some(Dependents::Cancel) => if_has_dependents(session, task_id, &CANCEL),
        None => (),
    }
    if consequences.ends_holds {
        END_HOLDS.with(|statement| statement.rows(session, &[task_id.into()]).len());
    }
    if consequences.ends_budget_wait {
        END_WAIT.with(|statement| statement.rows(session, &[task_id.into()]).len());
    }
    if let Some(asking) = consequences.asks
        && task.required(c"needs_approval")
    {
        let anew = asking == Asking::Anew;
        ASK.with(|statement| {
            statement
                .rows(session, &[task_id.into(), anew.into()])
                .len()
        });
    }
    if consequences.may_be_hopeless {
        CANCEL_IF_HOPELESS.with(|statement| statement.rows(session, &[task_id.into()]).len());
    }
}

/// Writes a message about the task, if anybody delivers such
/// (sql/idempotent/700_bridge_rabbitmq.sql).
fn send(session: &Session, message: Message, task_id: Uuid) {
    if settings::current(session).task_messages {
        let arguments = [message.as_str().into(), task_id.into()];
        SEND.with(|statement| statement.rows(session, &arguments));
    }
}

fn if_has_dependents(
    session: &Session,
    task_id: Uuid,
    action: &'static std::thread::LocalKey<spi::Statement>,
) {
    // What was made to depend on the task since this transaction began would wait for ever.
    if DEPENDENTS.differs_by_now(session, || [Key::equals(task_id)]) {
        snapshot::refuse("could not serialize access due to a new dependency");
    }
    if DEPENDENTS.any(session, &[Key::equals(task_id)]) {
        action.with(|statement| statement.rows(session, &[task_id.into()]));
    }
}

fn status_of(label: Label) -> TaskStatus {
    let name = label.name();
    name.parse().unwrap_or_else(|error| panic!("{error}"))
}
