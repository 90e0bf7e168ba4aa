//! The queues of waiting tasks: finds those that an agent takes next and locks them.

use devart_core::aging::{self, Head};
use devart_core::cursor::{Position, Queue};
use devart_core::status::TaskPriority;
use pgrx::datum::{TimestampWithTimeZone, Uuid};
use pgrx::prelude::*;

use crate::money::deferrals::Deferrals;
use crate::pg::clock;
use crate::pg::index::{Found, Index, Key, Locked, Purpose, Scan};
use crate::pg::labels;
use crate::pg::spi::Session;
use crate::stops::{InForce, Lines, Work};

/// The waiting tasks by lane, priority and the time at which they became ready.
const WAITING: Index = Index {
    schema: c"devart",
    table: c"tasks",
    name: c"tasks_claim_idx",
};
/// One look takes at most so many tasks out of their queues whose services are deferred; maintain()
/// takes out the rest.
const MAX_DEFERRED: usize = 100;
/// How many priorities there are; they are numbered from 1 on.
const PRIORITIES: usize = TaskPriority::ALL.len();

/// What to look for.
pub struct Search<'a> {
    /// Lanes whose tasks will do.
    pub lanes: &'a [i32],
    /// Where to start in each queue.
    pub start: &'a dyn Fn(Queue) -> Position,
    /// How many tasks to take at most.
    pub wanted: usize,
    /// Services whose costly tasks are passed over.
    pub unwanted_services: &'a [Uuid],
    /// Services that nobody works with for a while.
    pub deferrals: &'a Deferrals,
    /// After waiting so long a task counts one priority higher, in microseconds.
    pub aging_us: i64,
    /// What is passed over, too.
    pub stops: &'a InForce,
    pub stopped_lines: &'a Lines,
}

/// A task that was found and locked.
pub struct Picked {
    pub task_id: Uuid,
    pub queue: Queue,
    pub ready_at: Position,
}

/// What a search came to.
#[derive(Default)]
pub struct Picks {
    /// In the order in which they are due.
    pub tasks: Vec<Picked>,
    /// Locked, to be taken out of their queues, as their services are deferred.
    pub deferred: Vec<Picked>,
    /// Somebody changed a task meanwhile, so another look may find more.
    pub overtaken: bool,
}

impl Picks {
    fn put(&mut self, is_deferred: bool, picked: Picked) {
        match is_deferred {
            true => self.deferred.push(picked),
            false => self.tasks.push(picked),
        }
    }
}

/// Locks the most urgent tasks. What others have locked is passed over.
pub fn pick(session: &Session, search: &Search) -> Picks {
    WAITING.scan(session, Purpose::Lock, 3, |scan| {
        let priorities = priority_values(scan);
        let mut heads = heads(scan, search, &priorities);
        aging::sort(&mut heads, clock::transaction_start_us(), search.aging_us);
        let mut picks = Picks::default();
        for head in heads {
            if picks.tasks.len() >= search.wanted {
                break;
            }
            scan.seek(&keys(&priorities, head.queue, head.ready_at));
            take_from_queue(scan, search, head.queue, &mut picks);
        }
        picks
    })
}

fn priority_values(scan: &Scan) -> [pg_sys::Oid; PRIORITIES] {
    let sql_type = scan.enumeration_of(c"priority");
    std::array::from_fn(|index| labels::oid(sql_type, TaskPriority::ALL[index].as_c_str()))
}

fn keys(
    priorities: &[pg_sys::Oid; PRIORITIES],
    (lane, priority): Queue,
    from: Position,
) -> [Key; 3] {
    let from: TimestampWithTimeZone = from
        .try_into()
        .expect("positions come from timestamps or are minus infinity");
    [
        Key::equals(lane),
        Key::equals(priorities[priority as usize - 1]),
        Key::at_least(from),
    ]
}

/// The oldest waiting task of each queue that may begin, locked or not: only to order the queues.
fn heads(scan: &mut Scan, search: &Search, priorities: &[pg_sys::Oid; PRIORITIES]) -> Vec<Head> {
    let numbers = 1..=PRIORITIES as i16;
    let queues = search
        .lanes
        .iter()
        .flat_map(|&lane| numbers.clone().map(move |priority| (lane, priority)));
    queues
        .filter_map(|queue| {
            scan.seek(&keys(priorities, queue, (search.start)(queue)));
            let ready_at = loop {
                let found = scan.next()?;
                if !is_stopped(&found, search) {
                    break ready_at(&found);
                }
            };
            Some(Head { queue, ready_at })
        })
        .collect()
}

fn take_from_queue(scan: &mut Scan, search: &Search, queue: Queue, picks: &mut Picks) {
    while picks.tasks.len() < search.wanted {
        let Some(found) = scan.next() else {
            return;
        };
        if is_unwanted(&found, search) {
            continue;
        }
        let is_deferred = is_deferred(&found, search);
        if is_deferred && picks.deferred.len() >= MAX_DEFERRED {
            continue;
        }
        match found.try_lock() {
            Locked::Yes => picks.put(
                is_deferred,
                Picked {
                    task_id: found.required(c"id"),
                    queue,
                    ready_at: ready_at(&found),
                },
            ),
            Locked::Busy => (),
            Locked::Overtaken => picks.overtaken = true,
        }
    }
}

fn is_unwanted(found: &Found, search: &Search) -> bool {
    if is_stopped(found, search) {
        return true;
    }
    if search.unwanted_services.is_empty() {
        return false;
    }
    let service: Option<Uuid> = found.get(c"service_id");
    let costs_money = found.get::<AnyNumeric>(c"estimated_cost_usd").is_some();
    costs_money && service.is_some_and(|service| search.unwanted_services.contains(&service))
}

/// That the agent itself is not is known. Siblings are asked about once.
fn is_stopped(found: &Found, search: &Search) -> bool {
    if search.stops.is_empty() {
        return false;
    }
    let task: Uuid = found.required(c"id");
    let own = Work {
        agent: None,
        service: found.get(c"service_id"),
        run: found.get(c"workflow_run_id"),
        task: Some(task),
    };
    if search.stops.names(&own) {
        return true;
    }
    let parent: Option<Uuid> = found.get(c"parent_task_id");
    search
        .stopped_lines
        .of(parent.unwrap_or(task), search.stops)
}

fn is_deferred(found: &Found, search: &Search) -> bool {
    if search.deferrals.is_empty() {
        return false;
    }
    let service: Option<Uuid> = found.get(c"service_id");
    let waits = |service| search.deferrals.waits_until(service, clock::now_us());
    service.and_then(waits).is_some()
}

fn ready_at(found: &Found) -> Position {
    found.required::<TimestampWithTimeZone>(c"ready_at").into()
}
