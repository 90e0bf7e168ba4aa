//! What must come of each step, in plain arithmetic. Cents; all limits are hard.

/// The agent's budget, after the two services.
pub const AGENT: usize = 2;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Window {
    pub spent: i64,
    pub held: i64,
}

#[derive(Debug, Clone)]
pub struct Scope {
    pub limit: i64,
    /// Its open window, or one that has ended and that nobody has closed yet.
    window: usize,
    ended: bool,
    suspended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Open,
    /// Expired, and nobody has noticed yet.
    Due,
    Settled(Settled),
    /// Expired after its call went out: all of it counts as spent.
    Presumed,
    /// Presumed, and then people said what it was.
    Corrected(i64),
    /// Released, or expired before its call went out.
    Closed,
}

/// What a settlement answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    pub charged: i64,
    pub overage: i64,
    pub late: bool,
    pub presumed: bool,
}

#[derive(Debug, Clone)]
pub struct Hold {
    pub service: usize,
    pub asked: usize,
    /// As it was reserved.
    pub request: (i64, bool),
    cents: i64,
    dispatched: bool,
    /// What the ledger's row of its settlement comes to, if it has one.
    settle_row: Option<i64>,
    windows: [usize; 2],
    fate: Fate,
}

/// What the gate answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The service that is billed; none: refused.
    pub billed: Option<usize>,
    /// What is left, when nothing is due that nobody has noticed.
    pub remaining: Option<i64>,
}

#[derive(Debug, Clone)]
pub struct Model {
    pub scopes: [Scope; 3],
    pub windows: Vec<Window>,
    pub holds: Vec<Hold>,
    pub agent_has_budget: bool,
}

impl Model {
    /// Limits of the services, and of the agent if it has one.
    pub fn new(limits: [i64; 2], agent: Option<i64>) -> Self {
        let scope = |window, limit| Scope {
            limit,
            window,
            ended: false,
            suspended: false,
        };
        Model {
            scopes: [
                scope(0, limits[0]),
                scope(1, limits[1]),
                scope(2, agent.unwrap_or(i64::MAX / 4)),
            ],
            windows: vec![Window::default(); 3],
            holds: Vec::new(),
            agent_has_budget: agent.is_some(),
        }
    }

    pub fn charge(&mut self, service: usize, cents: i64) -> Verdict {
        let verdict = self.admit(service, cents);
        let Some(billed) = verdict.billed else {
            return verdict;
        };
        for scope in [billed, AGENT] {
            self.current(scope).spent += cents;
        }
        self.suspend_if_spent(billed, cents);
        self.with_remaining(verdict)
    }

    pub fn reserve(&mut self, service: usize, cents: i64, dispatched: bool) -> Verdict {
        let verdict = self.admit(service, cents);
        let Some(billed) = verdict.billed else {
            return verdict;
        };
        for scope in [billed, AGENT] {
            self.current(scope).held += cents;
        }
        let windows = [self.scopes[billed].window, self.scopes[AGENT].window];
        self.holds.push(Hold {
            service: billed,
            asked: service,
            request: (cents, dispatched),
            cents,
            dispatched,
            settle_row: None,
            windows,
            fate: Fate::Open,
        });
        self.with_remaining(verdict)
    }

    pub fn settle(&mut self, number: usize, cents: i64) -> Settled {
        let hold = self.holds[number].clone();
        if let Fate::Corrected(charged) = hold.fate {
            return Settled {
                charged,
                overage: 0,
                late: true,
                presumed: false,
            };
        }
        let (held, presumed) = match hold.fate {
            Fate::Presumed => (0, hold.cents),
            _ if hold.holds_money() => (hold.cents, 0),
            _ => (0, 0),
        };
        let settled = Settled {
            charged: cents,
            overage: (cents - held - presumed).max(0),
            late: !hold.holds_money(),
            presumed: hold.fate == Fate::Presumed,
        };
        hold.windows
            .iter()
            .for_each(|window| self.windows[*window].held -= held);
        self.spend_of(&hold, cents - presumed);
        self.holds[number].settle_row = match hold.fate {
            Fate::Presumed => Some(cents),
            _ if hold.holds_money() => Some(cents.min(held)),
            _ => None,
        };
        self.holds[number].fate = Fate::Settled(settled);
        settled
    }

    /// Whether its call may go out.
    pub fn dispatch(&mut self, number: usize) -> bool {
        let alive = self.holds[number].fate == Fate::Open;
        self.holds[number].dispatched |= alive;
        alive
    }

    /// What it holds afterwards; none: refused.
    pub fn extend(&mut self, number: usize, cents: i64) -> Option<i64> {
        let hold = self.holds[number].clone();
        if hold.fate != Fate::Open {
            return None;
        }
        if cents > 0 {
            let scopes = [hold.service, AGENT];
            scopes.iter().for_each(|scope| self.open_window(*scope));
            let moved = (0..2).any(|n| self.scopes[scopes[n]].window != hold.windows[n]);
            let room = self.room(hold.service).min(self.room(AGENT)).max(0);
            if moved || self.scopes[hold.service].suspended || cents > room {
                return None;
            }
        }
        hold.windows
            .iter()
            .for_each(|window| self.windows[*window].held += cents);
        self.holds[number].cents += cents;
        Some(hold.cents + cents)
    }

    /// Whether there is anything to correct.
    pub fn correct(&mut self, number: usize, cents: i64) -> bool {
        let hold = self.holds[number].clone();
        let Some(before) = hold.settle_row else {
            return false;
        };
        self.spend_of(&hold, cents - before);
        self.holds[number].settle_row = Some(cents);
        if matches!(hold.fate, Fate::Presumed | Fate::Corrected(_)) {
            self.holds[number].fate = Fate::Corrected(cents);
        }
        true
    }

    /// More or less is spent in the windows that admitted a hold.
    fn spend_of(&mut self, hold: &Hold, cents: i64) {
        hold.windows
            .iter()
            .for_each(|window| self.windows[*window].spent += cents);
        if self.scopes[hold.service].window != hold.windows[0] {
            return;
        }
        self.suspend_if_spent(hold.service, cents);
        let exhausted = self.current(hold.service).spent >= self.scopes[hold.service].limit;
        self.scopes[hold.service].suspended &= cents >= 0 || exhausted;
    }

    pub fn release(&mut self, number: usize) -> bool {
        let released = self.holds[number].holds_money();
        if released {
            self.close(number);
        }
        released
    }

    pub fn expire(&mut self, number: usize) {
        if self.holds[number].fate == Fate::Open {
            self.holds[number].fate = Fate::Due;
        }
    }

    pub fn increase(&mut self, service: usize, cents: i64) {
        self.open_window(service);
        self.scopes[service].limit += cents;
        let exhausted = self.current(service).spent >= self.scopes[service].limit;
        self.scopes[service].suspended &= exhausted;
    }

    pub fn end_window(&mut self, scope: usize) {
        self.scopes[scope].ended = scope != AGENT || self.agent_has_budget;
    }

    /// What a settled hold answered.
    pub fn settled(&self, number: usize) -> Option<Settled> {
        match self.holds[number].fate {
            Fate::Settled(settled) => Some(settled),
            _ => None,
        }
    }

    /// Everything that is due is noticed.
    pub fn notice_time(&mut self) {
        for number in 0..self.holds.len() {
            match &self.holds[number] {
                hold if hold.fate != Fate::Due => (),
                hold if hold.dispatched => self.presume(number),
                _ => self.close(number),
            }
        }
        (0..3).for_each(|scope| self.open_window(scope));
    }

    pub fn is_suspended(&self, service: usize) -> bool {
        self.scopes[service].suspended
    }

    /// The open window of a scope.
    pub fn window(&self, scope: usize) -> Window {
        self.windows[self.scopes[scope].window]
    }

    /// The sums over all closed windows.
    pub fn closed(&self) -> Window {
        let is_open = |window: &usize| self.scopes.iter().any(|scope| scope.window == *window);
        let closed = (0..self.windows.len()).filter(|window| !is_open(window));
        closed.fold(Window::default(), |sum, window| Window {
            spent: sum.spent + self.windows[window].spent,
            held: sum.held + self.windows[window].held,
        })
    }

    /// Chooses the service and opens the windows that it is billed to.
    fn admit(&mut self, service: usize, cents: i64) -> Verdict {
        self.open_window(AGENT);
        let nothing_due = !self.holds.iter().any(|hold| hold.fate == Fate::Due);
        let chain: Vec<usize> = (service..2).collect();
        let usable: Vec<usize> = chain
            .into_iter()
            .filter(|&service| {
                cents == 0 || !self.scopes[service].suspended || self.scopes[service].ended
            })
            .collect();
        let room = |service: usize| self.room(service).min(self.room(AGENT));
        let billed = usable
            .iter()
            .copied()
            .find(|&service| cents <= room(service).max(0));
        let best = usable
            .iter()
            .map(|&service| room(service).max(0))
            .max()
            .unwrap_or(0);
        if let Some(billed) = billed {
            self.open_window(billed);
        }
        Verdict {
            billed,
            remaining: nothing_due.then_some(best),
        }
    }

    fn with_remaining(&self, verdict: Verdict) -> Verdict {
        let billed = verdict.billed.expect("admitted");
        let remaining = self.room(billed).min(self.room(AGENT)).max(0);
        Verdict {
            remaining: verdict.remaining.map(|_| remaining),
            ..verdict
        }
    }

    /// What is left of a scope, money that will be given back counted as free.
    fn room(&self, scope: usize) -> i64 {
        let Scope {
            limit,
            window,
            ended,
            ..
        } = self.scopes[scope];
        if ended {
            return limit;
        }
        let due = self
            .holds
            .iter()
            .filter(|hold| hold.fate == Fate::Due && !hold.dispatched)
            .filter(|hold| hold.windows.contains(&window));
        limit - self.windows[window].spent - self.windows[window].held
            + due.map(|hold| hold.cents).sum::<i64>()
    }

    fn current(&mut self, scope: usize) -> &mut Window {
        &mut self.windows[self.scopes[scope].window]
    }

    /// What spends nothing suspends nobody.
    fn suspend_if_spent(&mut self, service: usize, cents: i64) {
        if cents > 0 && self.current(service).spent >= self.scopes[service].limit {
            self.scopes[service].suspended = true;
        }
    }

    fn open_window(&mut self, scope: usize) {
        if self.scopes[scope].ended {
            self.windows.push(Window::default());
            self.scopes[scope] = Scope {
                window: self.windows.len() - 1,
                ended: false,
                suspended: false,
                ..self.scopes[scope]
            };
        }
    }

    /// All that is held counts as spent.
    fn presume(&mut self, number: usize) {
        let hold = self.holds[number].clone();
        for window in hold.windows {
            self.windows[window].held -= hold.cents;
        }
        self.spend_of(&hold, hold.cents);
        self.holds[number].settle_row = Some(hold.cents);
        self.holds[number].fate = Fate::Presumed;
    }

    fn close(&mut self, number: usize) {
        let hold = self.holds[number].clone();
        for window in hold.windows {
            self.windows[window].held -= hold.cents;
        }
        self.holds[number].fate = Fate::Closed;
    }
}

impl Hold {
    /// Whether its money is still set aside.
    fn holds_money(&self) -> bool {
        matches!(self.fate, Fate::Open | Fate::Due)
    }
}
