//! History: what follows, in the same transaction, from a new task and from a change of its status.
//!
//! Native triggers, because they run three times in the life of every task: written in PL/pgSQL they
//! cost more than the claim and the completion together.

use pgrx::datum::Uuid;
use pgrx::heap_tuple::PgHeapTuple;
use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use pgrx::{AllocatedByRust, WhoAllocated};

use super::events::{self, Event};
use crate::pg::index::{Index, Key};
use crate::pg::labels::Label;
use crate::pg::spi::{self, Session, statement};
use crate::pg::transition;
use crate::{settings, wake};

const DEPENDENTS: Index = Index {
    schema: c"devart",
    table: c"task_dependencies",
    name: c"task_dependencies_depends_on_idx",
};

statement!(
    INVITE_NEW,
    "select devart_private.send_task_messages('invite', array(
         select t.id from new_tasks t
         where t.status operator(pg_catalog.=) 'TODO'::devart.task_status order by t.ready_at))",
    []
);
statement!(
    REQUEST_APPROVAL,
    "select devart_private.request_task_approval($1)",
    [UUIDOID]
);
statement!(
    UNBLOCK,
    "select devart_private.unblock_dependents($1)",
    [UUIDOID]
);
statement!(
    END_HOLDS,
    "select devart_private.end_holds_of_task($1)",
    [UUIDOID]
);
statement!(
    END_WAIT,
    "select devart_private.end_budget_wait($1)",
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
    /// wakes waiting workers for a task that became TODO, lets the dependents of a DONE task go, writes
    /// messages for agents that are pushed to, and frees money.
    #[pg_trigger]
    fn tasks_after_status_change<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByRust>>, ErrorReport> {
        let old = trigger.old().expect("an update has an old row");
        let new = trigger.new().expect("an update has a new row");
        let (from, to): (Label, Label) = (column(&old, "status"), column(&new, "status"));
        if from != to {
            spi::connect(|session| {
                record(trigger, &old, &new);
                propagate(session, column(&new, "id"), &from.name(), &to.name());
                let has_service = optional::<Uuid>(&new, "service_id").is_some();
                settle_money(
                    session,
                    column(&new, "id"),
                    &from.name(),
                    &to.name(),
                    has_service,
                );
            });
        }
        Ok(None)
    }

    /// After insert on devart.tasks, once per statement, so that bulk inserts stay fast: begins the tasks' history, requests
    /// approvals, wakes waiting workers and writes messages for agents that are pushed to.
    #[pg_trigger]
    fn tasks_after_insert<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, AllocatedByRust>>, ErrorReport> {
        spi::as_owner(trigger, || {
            let tasks = begin_history(trigger);
            spi::connect(|session| follow_up_on_new(session, trigger, &tasks));
        });
        Ok(None)
    }
}

/// Gives the new tasks.
fn begin_history(trigger: &PgTrigger) -> Vec<Event> {
    let tasks = transition::read_new(trigger, |row| Event {
        task_id: row.required(c"id"),
        from: None,
        to: row.required(c"status"),
        agent_id: row.get(c"agent_id"),
        attempt: row.required(c"attempt"),
        error: None,
    });
    events::append(&tasks);
    tasks
}

fn follow_up_on_new(session: &Session, trigger: &PgTrigger, tasks: &[Event]) {
    let mut any_to_do = false;
    for task in tasks {
        match Label(task.to).name().as_str() {
            "TODO" => any_to_do = true,
            "AWAITING_APPROVAL" => request_approval(session, task.task_id),
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

fn record(
    trigger: &PgTrigger,
    old: &PgHeapTuple<impl WhoAllocated>,
    new: &PgHeapTuple<impl WhoAllocated>,
) {
    let new_error: Option<String> = optional(new, "last_error");
    let event = Event {
        task_id: column(new, "id"),
        from: Some(column::<Label>(old, "status").0),
        to: column::<Label>(new, "status").0,
        agent_id: optional(new, "agent_id").or_else(|| optional(old, "agent_id")),
        attempt: column(new, "attempt"),
        error: new_error.filter(|error| optional(old, "last_error").as_ref() != Some(error)),
    };
    spi::as_owner(trigger, || events::append(&[event]));
}

/// Claims need nothing, and completions only a look for dependents: nothing may be added to them.
fn propagate(session: &Session, task_id: Uuid, from: &str, to: &str) {
    match (from, to) {
        (_, "TODO") => {
            wake::wake("tasks");
            send(session, "invite", task_id);
        }
        (_, "DONE") => if_has_dependents(session, task_id, &UNBLOCK),
        (_, "CANCELLED") => if_has_dependents(session, task_id, &CANCEL),
        ("IN_PROGRESS", "SCHEDULED") => send(session, "delay", task_id),
        (_, "FAILED") => send(session, "dead", task_id),
        _ => (),
    }
}

/// Writes a message about the task, if anybody delivers such (sql/idempotent/700_bridge_rabbitmq.sql).
fn send(session: &Session, kind: &str, task_id: Uuid) {
    if settings::current(session).task_messages {
        SEND.with(|statement| statement.rows(session, &[kind.into(), task_id.into()]));
    }
}

/// Money that was set aside for work that is over is free for others; and who waited for money waits no more.
/// (A task without a service may hold money, too: that expires. Looking for it here would cost each completion.)
fn settle_money(session: &Session, task_id: Uuid, from: &str, to: &str, has_service: bool) {
    if (from == "IN_PROGRESS" && has_service) || to == "CANCELLED" {
        END_HOLDS.with(|statement| statement.rows(session, &[task_id.into()]).len());
    }
    if from == "AWAITING_APPROVAL" {
        END_WAIT.with(|statement| statement.rows(session, &[task_id.into()]).len());
    }
}

fn if_has_dependents(
    session: &Session,
    task_id: Uuid,
    action: &'static std::thread::LocalKey<spi::Statement>,
) {
    if DEPENDENTS.any(session, &[Key::equals(task_id)]) {
        action.with(|statement| statement.rows(session, &[task_id.into()]));
    }
}

fn column<T>(row: &PgHeapTuple<impl WhoAllocated>, name: &str) -> T
where
    T: FromDatum + IntoDatum + for<'t> pgrx::datum::UnboxDatum<As<'t> = T> + 'static,
{
    optional(row, name).unwrap_or_else(|| panic!("tasks.{name} is null"))
}

fn optional<T>(row: &PgHeapTuple<impl WhoAllocated>, name: &str) -> Option<T>
where
    T: FromDatum + IntoDatum + for<'t> pgrx::datum::UnboxDatum<As<'t> = T> + 'static,
{
    row.get_by_name(name)
        .unwrap_or_else(|error| panic!("cannot read tasks.{name}: {error}"))
}
