//! When a claim looks for more tasks, and when it has looked often enough.

/// One claim lets at most so many tasks wait for budget; what is left of their kind is passed over
/// then.
const MAX_PARKED: usize = 20;
/// A claim that others are always faster than gives up after so many looks.
const MAX_OVERTAKEN: usize = 10;
/// One claim sets at most so many tasks aside that cannot be handed out: the next one goes on.
const MAX_SET_ASIDE: usize = 100;

/// What became of a picked task that costs money.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Handed out, with its money set aside.
    Started,
    /// Waits for money or for a person, outside of the queue.
    Parked,
    /// Back in the queue as it was, for another agent or moment.
    GivenBack,
}

/// What a claim has come to so far.
#[derive(Debug)]
pub struct Tally<Service> {
    wanted: usize,
    claimed: usize,
    holds_money: bool,
    parked: usize,
    /// Whether this look left anything that it found without handing it out.
    refused: bool,
    set_aside: usize,
    /// Looks at which everything found had just been changed by others.
    overtaken: usize,
    /// Whose tasks are not worth another try in this claim.
    unwanted: Vec<Service>,
}

impl<Service> Tally<Service> {
    /// Of a claim that asks for so many tasks.
    pub fn new(wanted: usize) -> Self {
        Tally {
            wanted,
            claimed: 0,
            holds_money: false,
            parked: 0,
            refused: false,
            set_aside: 0,
            overtaken: 0,
            unwanted: Vec::new(),
        }
    }

    /// How many tasks are missing.
    pub fn missing(&self) -> usize {
        self.wanted - self.claimed
    }

    /// Services whose costly tasks are to be passed over.
    pub fn unwanted(&self) -> &[Service] {
        &self.unwanted
    }

    /// Whether the claim may wait for the locks of money: not once it holds some, lest two claims
    /// wait for each other.
    pub fn may_wait(&self) -> bool {
        !self.holds_money
    }

    /// A task was handed out.
    pub fn claimed(&mut self) {
        self.claimed += 1;
    }

    /// A costly task of `service` was tried. One that started is [`Tally::claimed`] besides.
    pub fn tried(&mut self, service: Service, start: Start) {
        match start {
            Start::Started => self.holds_money = true,
            Start::Parked => {
                self.refused = true;
                self.parked += 1;
                if self.parked >= MAX_PARKED {
                    self.unwanted.push(service);
                }
            }
            Start::GivenBack => {
                self.refused = true;
                self.unwanted.push(service);
            }
        }
    }

    /// A task was found that cannot be handed out, and has failed.
    pub fn set_aside(&mut self) {
        self.refused = true;
        self.set_aside += 1;
    }

    /// A look found only what others had just changed. Whether another look is worth it.
    pub fn after_overtaken(&mut self) -> bool {
        self.overtaken += 1;
        self.claimed == 0 && self.overtaken < MAX_OVERTAKEN
    }

    /// A look has ended. Whether another one is worth it: where this one refused what it found,
    /// there may be more behind that.
    pub fn after_look(&mut self) -> bool {
        std::mem::take(&mut self.refused) && self.missing() > 0 && self.set_aside < MAX_SET_ASIDE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_that_handed_out_all_that_it_found_is_the_last() {
        let mut tally = Tally::<()>::new(3);
        tally.claimed();
        assert!(!tally.after_look(), "the queue is empty");
        assert_eq!(tally.missing(), 2);
    }

    #[test]
    fn what_was_refused_is_worth_one_more_look() {
        for refusal in [Start::Parked, Start::GivenBack] {
            let mut tally = Tally::new(1);
            tally.tried("service", refusal);
            assert!(tally.after_look());
            assert!(!tally.after_look(), "the second look refused nothing");
        }
    }

    #[test]
    fn what_cannot_be_handed_out_is_worth_another_look_for_a_hundred_times() {
        let mut tally = Tally::<()>::new(1);
        let looks = (1..).take_while(|_| {
            tally.set_aside();
            tally.after_look()
        });
        assert_eq!(looks.count() + 1, MAX_SET_ASIDE);
    }

    #[test]
    fn a_claim_that_has_enough_looks_no_further() {
        let mut tally = Tally::new(1);
        tally.tried("service", Start::Parked);
        tally.claimed();
        assert!(!tally.after_look());
    }

    #[test]
    fn a_claim_that_holds_money_waits_for_no_lock() {
        let mut tally = Tally::new(2);
        tally.tried("service", Start::Parked);
        assert!(tally.may_wait());
        tally.tried("service", Start::Started);
        assert!(!tally.may_wait());
    }

    #[test]
    fn a_service_whose_task_was_given_back_is_passed_over_at_once() {
        let mut tally = Tally::new(1);
        tally.tried("poor", Start::GivenBack);
        assert_eq!(tally.unwanted(), ["poor"]);
    }

    #[test]
    fn the_twentieth_task_that_must_wait_is_the_last_that_is_tried_of_its_service() {
        let mut tally = Tally::new(1);
        (0..19).for_each(|_| tally.tried("poor", Start::Parked));
        assert!(tally.unwanted().is_empty());
        tally.tried("poor", Start::Parked);
        assert_eq!(tally.unwanted(), ["poor"]);
    }

    #[test]
    fn a_claim_that_others_are_always_faster_than_gives_up_after_ten_looks() {
        let mut tally = Tally::<()>::new(1);
        let looks = (1..).take_while(|_| tally.after_overtaken()).count();
        assert_eq!(looks + 1, 10);
    }

    #[test]
    fn a_claim_that_has_something_does_not_run_after_what_others_changed() {
        let mut tally = Tally::<()>::new(2);
        tally.claimed();
        assert!(!tally.after_overtaken());
    }
}
