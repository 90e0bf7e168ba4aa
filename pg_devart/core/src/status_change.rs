//! What follows from a change of a task's status.
//!
//! Claims need nothing, and completions only a look for dependents: nothing may be added to them.

use crate::status::TaskStatus;

/// What is to be done in the transaction that changes the status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Consequences {
    /// Workers that wait for tasks are woken.
    pub wakes_workers: bool,
    /// A message is written for agents that are pushed to.
    pub message: Option<Message>,
    pub dependents: Option<Dependents>,
    /// Tasks that depend on this one wait for it again.
    pub blocks_dependents: bool,
    /// Money that was set aside for the task is free for others.
    pub ends_holds: bool,
    /// Who waited for money, or for people, waits no more.
    pub ends_budget_wait: bool,
    /// People are asked about a task that needs them.
    pub asks: Option<Asking>,
    /// It may wait for something that can never be done.
    pub may_be_hopeless: bool,
}

/// Whether what people granted a task still counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    /// It does, if it was granted for the task as it is.
    IfNeedBe,
    /// The task had ended, and runs again only with new votes.
    Anew,
}

/// What a message tells of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// It is to be had.
    Invite,
    /// It will be, later.
    Delay,
    /// It has failed for good.
    Dead,
}

impl Message {
    /// How devart_private.send_task_messages names it.
    pub fn as_str(self) -> &'static str {
        match self {
            Message::Invite => "invite",
            Message::Delay => "delay",
            Message::Dead => "dead",
        }
    }
}

/// What becomes of the tasks that depend on this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependents {
    Unblock,
    Cancel,
}

/// What follows when a task goes `from` one status `to` another.
///
/// `has_service`: whether the task names a service. One that names none may hold money, too: that
/// expires, since looking for it would cost each completion.
pub fn consequences(from: TaskStatus, to: TaskStatus, has_service: bool) -> Consequences {
    use TaskStatus::{
        AwaitingApproval, Blocked, Cancelled, Done, Failed, InProgress, Scheduled, Todo,
    };

    let money = Consequences {
        ends_holds: (from == InProgress && has_service) || to == Cancelled,
        ends_budget_wait: from == AwaitingApproval,
        asks: (to == AwaitingApproval).then_some(match from {
            Done | Failed | Cancelled => Asking::Anew,
            _ => Asking::IfNeedBe,
        }),
        may_be_hopeless: to == Blocked,
        blocks_dependents: from == Done,
        ..Consequences::default()
    };
    match (from, to) {
        (_, Todo) => Consequences {
            wakes_workers: true,
            message: Some(Message::Invite),
            ..money
        },
        (_, Done) => Consequences {
            dependents: Some(Dependents::Unblock),
            ..money
        },
        (_, Cancelled) => Consequences {
            dependents: Some(Dependents::Cancel),
            ..money
        },
        (InProgress, Scheduled) => Consequences {
            message: Some(Message::Delay),
            ..money
        },
        (_, Failed) => Consequences {
            message: Some(Message::Dead),
            ..money
        },
        _ => money,
    }
}

#[cfg(test)]
mod tests {
    use super::TaskStatus::*;
    use super::*;

    #[test]
    fn a_claim_has_no_consequences() {
        for has_service in [false, true] {
            let of_claim = consequences(Todo, InProgress, has_service);
            assert_eq!(of_claim, Consequences::default());
        }
    }

    #[test]
    fn a_completion_only_looks_for_dependents() {
        let only_dependents = Consequences {
            dependents: Some(Dependents::Unblock),
            ..Consequences::default()
        };
        assert_eq!(consequences(InProgress, Done, false), only_dependents);
    }

    #[test]
    fn a_task_that_is_done_no_more_is_waited_for_again() {
        for &to in TaskStatus::ALL {
            assert!(consequences(Done, to, false).blocks_dependents, "to {to}");
        }
        assert!(!consequences(Failed, Todo, false).blocks_dependents);
    }

    #[test]
    fn whatever_becomes_todo_wakes_workers_and_invites() {
        for from in [
            Blocked,
            AwaitingApproval,
            Scheduled,
            InProgress,
            Failed,
            Cancelled,
        ] {
            let of_return = consequences(from, Todo, false);
            assert!(of_return.wakes_workers, "from {from}");
            assert_eq!(of_return.message, Some(Message::Invite), "from {from}");
        }
    }

    #[test]
    fn a_retry_is_told_with_its_delay_and_a_new_time_for_a_waiting_task_is_not() {
        let message = |from| consequences(from, Scheduled, false).message;
        assert_eq!(message(InProgress), Some(Message::Delay));
        assert_eq!(message(Blocked), None);
        assert_eq!(message(Todo), None);
    }

    #[test]
    fn a_failure_for_good_is_told_as_dead_and_leaves_dependents_blocked() {
        let of_failure = consequences(InProgress, Failed, false);
        assert_eq!(of_failure.message, Some(Message::Dead));
        assert_eq!(of_failure.dependents, None);
    }

    #[test]
    fn work_that_ends_frees_the_money_of_its_service() {
        for to in [Done, Failed, Scheduled, Todo, Cancelled] {
            assert!(consequences(InProgress, to, true).ends_holds, "to {to}");
        }
        assert!(!consequences(InProgress, Done, false).ends_holds);
    }

    #[test]
    fn a_cancelled_task_frees_money_whatever_it_was_doing() {
        for from in [Blocked, AwaitingApproval, Scheduled, Todo, InProgress] {
            let of_cancel = consequences(from, Cancelled, false);
            assert!(of_cancel.ends_holds, "from {from}");
            assert_eq!(
                of_cancel.dependents,
                Some(Dependents::Cancel),
                "from {from}"
            );
        }
    }

    #[test]
    fn a_task_that_ended_asks_people_anew() {
        let asks = |from| consequences(from, AwaitingApproval, false).asks;
        for from in [Done, Failed, Cancelled] {
            assert_eq!(asks(from), Some(Asking::Anew), "from {from}");
        }
        for from in [Blocked, Scheduled, Todo, InProgress] {
            assert_eq!(asks(from), Some(Asking::IfNeedBe), "from {from}");
        }
        assert_eq!(consequences(Failed, Todo, false).asks, None);
    }

    #[test]
    fn a_task_that_waits_for_money_no_more_ends_its_wait() {
        for to in [Todo, Cancelled, Failed, Blocked] {
            assert!(
                consequences(AwaitingApproval, to, false).ends_budget_wait,
                "to {to}"
            );
        }
        assert!(!consequences(Todo, AwaitingApproval, false).ends_budget_wait);
    }
}
