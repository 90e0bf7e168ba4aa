//! The steps of a sequence.

use proptest::prelude::*;

/// Something that happens to money. Amounts are in cents; holds are named by their number in the sequence.
#[derive(Debug, Clone)]
pub enum Step {
    /// The services: 0, and 1, which stands in for it.
    Charge {
        service: usize,
        cents: i64,
    },
    Reserve {
        service: usize,
        cents: i64,
        dispatched: bool,
    },
    /// Its call goes out.
    Dispatch {
        hold: usize,
    },
    Extend {
        hold: usize,
        cents: i64,
    },
    /// What was spent out of a hold, says an admin.
    Correct {
        hold: usize,
        cents: i64,
    },
    /// The same reservation again, under its key.
    ReserveAgain {
        hold: usize,
    },
    Settle {
        hold: usize,
        cents: i64,
    },
    /// The same settlement again.
    SettleAgain {
        hold: usize,
    },
    Release {
        hold: usize,
    },
    /// Its time is up; nobody has noticed yet.
    Expire {
        hold: usize,
    },
    Increase {
        service: usize,
        cents: i64,
    },
    /// Of a service, or of the agent's budget (2). Nobody has noticed yet.
    EndWindow {
        scope: usize,
    },
}

impl Step {
    /// Whether it only lets time pass, which the next step is to notice.
    pub fn is_time(&self) -> bool {
        matches!(self, Step::Expire { .. } | Step::EndWindow { .. })
    }
}

/// Limits in cents of the two services and of the agent, if it has one; and what happens.
pub type Sequence = ([i64; 2], Option<i64>, Vec<Step>);

pub fn sequences() -> impl Strategy<Value = Sequence> {
    let limits = [0..1_000_i64, 0..1_000_i64];
    let agent = prop::option::of(0..2_000_i64);
    (limits, agent, prop::collection::vec(step(), 1..25))
}

fn step() -> impl Strategy<Value = Step> {
    let service = 0..2_usize;
    let hold = 0..6_usize;
    let cents = 0..400_i64;
    prop_oneof![
        4 => (service.clone(), cents.clone()).prop_map(|(service, cents)| Step::Charge { service, cents }),
        6 => (service.clone(), cents.clone(), any::<bool>()).prop_map(|(service, cents, dispatched)| {
            Step::Reserve { service, cents, dispatched }
        }),
        2 => hold.clone().prop_map(|hold| Step::Dispatch { hold }),
        2 => (hold.clone(), cents.clone()).prop_map(|(hold, cents)| Step::Extend { hold, cents }),
        2 => (hold.clone(), cents.clone()).prop_map(|(hold, cents)| Step::Correct { hold, cents }),
        1 => hold.clone().prop_map(|hold| Step::ReserveAgain { hold }),
        4 => (hold.clone(), cents.clone()).prop_map(|(hold, cents)| Step::Settle { hold, cents }),
        1 => hold.clone().prop_map(|hold| Step::SettleAgain { hold }),
        2 => hold.clone().prop_map(|hold| Step::Release { hold }),
        3 => hold.prop_map(|hold| Step::Expire { hold }),
        1 => (service, 1..300_i64).prop_map(|(service, cents)| Step::Increase { service, cents }),
        2 => (0..3_usize).prop_map(|scope| Step::EndWindow { scope }),
    ]
}
