//! What this transaction lets begin, to be looked at again when it commits: a stop that commits
//! before it does counts.

use std::cell::RefCell;
use std::rc::Rc;

use super::Work;
use super::in_force::{self, InForce};
use crate::pg::snapshot;
use crate::pg::transaction::{self, Ends, Subtransaction, Watch};

struct Begun {
    within: Subtransaction,
    work: Work,
    /// What was in force when somebody asked.
    asked: Option<Rc<InForce>>,
}

thread_local! {
    static BEGUN: RefCell<Vec<Begun>> = RefCell::default();
}

static ENDS: Watch = Watch::new(Ends {
    before_commit: check,
    before_prepare: refuse_to_prepare,
    committed: forget,
    given_up: forget,
    subtransaction_rolled_back: roll_back,
});

pub fn remember(work: Work, asked: Option<&Rc<InForce>>) {
    ENDS.begin();
    let begun = Begun {
        within: transaction::current_subtransaction(),
        work,
        asked: asked.cloned(),
    };
    BEGUN.with_borrow_mut(|all| {
        if !all.last().is_some_and(|last| last.is_as(&begun)) {
            all.push(begun);
        }
    });
}

impl Begun {
    /// One call asks several times.
    fn is_as(&self, other: &Begun) -> bool {
        self.within == other.within && self.work == other.work && self.saw(other.asked.as_ref())
    }

    fn saw(&self, in_force: Option<&Rc<InForce>>) -> bool {
        match (&self.asked, in_force) {
            (Some(asked), Some(in_force)) => Rc::ptr_eq(asked, in_force),
            _ => false,
        }
    }
}

/// Refuses the commit if something was stopped meanwhile. Stops wait for those who have come past
/// this to end, which is soon: it is the last that they do.
fn check() {
    let begun = BEGUN.take();
    if begun.is_empty() {
        return;
    }
    let now = in_force::at_commit();
    let is_stopped = |it: &Begun| !it.saw(Some(&now)) && now.refuses(&it.work).is_some();
    if begun.iter().any(is_stopped) {
        snapshot::refuse("could not serialize access: this was stopped or paused meanwhile");
    }
}

/// It could be committed after a stop, by a session that knows nothing of what it begins.
fn refuse_to_prepare() {
    if !BEGUN.with_borrow(Vec::is_empty) {
        transaction::refuse_prepare(
            "a transaction that takes tasks or sets money aside cannot be prepared",
        );
    }
}

fn forget() {
    BEGUN.take();
}

fn roll_back(subtransaction: Subtransaction) {
    BEGUN.with_borrow_mut(|all| all.retain(|it| it.within < subtransaction));
}
