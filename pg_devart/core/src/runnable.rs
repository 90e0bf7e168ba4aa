//! When a task may run: the state in which it waits until then.

use crate::status::TaskStatus;

/// What holds a task up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waits {
    /// It needs votes that it does not have.
    pub for_people: bool,
    /// Something that it depends on is not done.
    pub for_tasks: bool,
    pub for_time: bool,
}

/// The state of a task that nobody works on and that has not ended.
pub fn status(waits: Waits) -> TaskStatus {
    if waits.for_people {
        TaskStatus::AwaitingApproval
    } else if waits.for_tasks {
        TaskStatus::Blocked
    } else if waits.for_time {
        TaskStatus::Scheduled
    } else {
        TaskStatus::Todo
    }
}

/// What a change of status asks of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// Nothing: it leads to no worker, or follows from a state that was checked.
    Nothing,
    /// Where does it wait, with the votes that it has?
    Place,
    /// Where does it wait? It had ended: earlier votes do not count.
    PlaceAnew,
    /// A worker has it at once: does it have the votes?
    Votes,
    /// The same for one that had ended: earlier votes do not count.
    VotesAnew,
    /// It waits for people: is there anything that they are asked?
    Question,
}

/// What to check when a task goes `from` one status `to` another. Claims need nothing.
pub fn check(from: TaskStatus, to: TaskStatus) -> Check {
    use TaskStatus::*;

    match (from, to) {
        (from, to) if from == to => Check::Nothing,
        (Todo | Scheduled, InProgress) => Check::Nothing,
        (Done | Failed | Cancelled, InProgress) => Check::VotesAnew,
        (_, InProgress) => Check::Votes,
        (Done | Failed | Cancelled, Todo | Scheduled | Blocked) => Check::PlaceAnew,
        (_, Todo | Scheduled | Blocked) => Check::Place,
        (_, AwaitingApproval) => Check::Question,
        (_, Done | Failed | Cancelled) => Check::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::TaskStatus::*;
    use super::*;

    #[test]
    fn people_come_before_tasks_and_tasks_before_time() {
        let waits = |for_people, for_tasks, for_time| {
            status(Waits {
                for_people,
                for_tasks,
                for_time,
            })
        };
        assert_eq!(waits(true, true, true), AwaitingApproval);
        assert_eq!(waits(false, true, true), Blocked);
        assert_eq!(waits(false, false, true), Scheduled);
        assert_eq!(waits(false, false, false), Todo);
    }

    #[test]
    fn a_claim_is_not_checked() {
        assert_eq!(check(Todo, InProgress), Check::Nothing);
        assert_eq!(check(InProgress, Done), Check::Nothing);
    }

    #[test]
    fn nothing_comes_to_a_worker_unchecked() {
        for &from in TaskStatus::ALL {
            for to in [Todo, Scheduled, Blocked, InProgress] {
                let was_checked = matches!(from, Todo | Scheduled) && to == InProgress;
                let is_checked = check(from, to) != Check::Nothing;
                assert_eq!(
                    is_checked,
                    from != to && !was_checked,
                    "from {from} to {to}"
                );
            }
        }
    }

    #[test]
    fn whatever_begins_to_wait_for_people_needs_a_question() {
        for &from in TaskStatus::ALL {
            let is_checked = check(from, AwaitingApproval) == Check::Question;
            assert_eq!(is_checked, from != AwaitingApproval, "from {from}");
        }
    }

    #[test]
    fn votes_for_a_task_that_ended_do_not_count() {
        for from in [Done, Failed, Cancelled] {
            assert_eq!(check(from, Todo), Check::PlaceAnew, "from {from}");
            assert_eq!(check(from, InProgress), Check::VotesAnew, "from {from}");
        }
    }
}
