//! What sessions and the notifier share: which channels wait for a NOTIFY, and how to wake the notifier.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use pgrx::prelude::*;
use pgrx::{PgAtomic, PgLwLock, pg_shmem_init};

use super::channel::Channel;
use crate::pg::latch::Latch;
use crate::pg::shared_memory::shareable;
use crate::pg::{clock, database, latch, shared_memory};

/// One bit each.
const MAX_CHANNELS: usize = u64::BITS as usize;
/// How long nobody may have sent for the next one to be alone. So one session in two milliseconds sends for itself at the
/// most; when more of them commit, the notifier is woken and sends for all.
const QUIET: Duration = Duration::from_millis(2);

static BOARD: PgAtomic<Board> = shared_memory::atomic(c"devart wake-ups");
/// The channel of each bit. Filled from the front; what is there stays until the server ends.
static CHANNELS: PgLwLock<[Channel; MAX_CHANNELS]> = shared_memory::locked(c"devart channels");
/// Set before the server starts its first process, and inherited by each.
static IS_THERE: AtomicBool = AtomicBool::new(false);

#[derive(Default)]
struct Board {
    /// Channels that wait for a NOTIFY.
    waiting: AtomicU64,
    /// Whether the notifier sleeps, and has to be woken; it looks by itself while it is busy.
    sleeps: AtomicBool,
    /// When the notifier or a first one last began to send, in microseconds since 2000.
    sent_at: AtomicI64,
    /// The running notifier's; null when there is none.
    latch: AtomicPtr<Latch>,
    /// The database that the notifier serves.
    database: AtomicU32,
    /// Whether the last notifier could not connect to its database.
    database_is_in_doubt: AtomicBool,
}

shareable!(Board);

/// Asks the starting server for the memory.
#[expect(
    unexpected_cfgs,
    reason = "the macro asks for versions of Postgres that this crate does not know"
)]
pub fn request() {
    pg_shmem_init!(BOARD);
    pg_shmem_init!(CHANNELS = [Channel::NONE; MAX_CHANNELS]);
    IS_THERE.store(true, SeqCst);
}

/// The bit to give to [`tell_notifier`]; `None` when no notifier serves this session's database, or
/// has no bit left for this channel.
pub fn bit_of(channel: &Channel) -> Option<u64> {
    if !is_served() {
        return None;
    }
    let known = index_of(&CHANNELS.share()[..], channel);
    known.or_else(|| add(channel)).map(|index| 1 << index)
}

fn is_served() -> bool {
    IS_THERE.load(SeqCst)
        && !BOARD.get().latch.load(SeqCst).is_null()
        && BOARD.get().database.load(SeqCst) == database::own()
}

/// Whether the caller is the first after a quiet moment. It shall send for itself: that costs nobody anything,
/// and its listeners need not wait until the notifier runs.
pub fn is_first_after_quiet() -> bool {
    IS_THERE.load(SeqCst) && BOARD.get().sleeps.load(SeqCst) && is_first(&BOARD.get().sent_at)
}

fn is_first(sent_at: &AtomicI64) -> bool {
    let (last, now) = (sent_at.load(SeqCst), clock::now_us());
    let is_quiet = u128::from(now.abs_diff(last)) >= QUIET.as_micros();
    is_quiet && sent_at.compare_exchange(last, now, SeqCst, SeqCst).is_ok()
}

fn index_of(channels: &[Channel], channel: &Channel) -> Option<usize> {
    channels.iter().position(|other| other == channel)
}

/// Gives the channel a free bit, unless another session was faster or all are taken.
fn add(channel: &Channel) -> Option<usize> {
    let mut channels = CHANNELS.exclusive();
    let index =
        index_of(&channels[..], channel).or_else(|| index_of(&channels[..], &Channel::NONE))?;
    channels[index] = *channel;
    Some(index)
}

/// Has the notifier send a NOTIFY for each of these channels. Cannot fail.
pub fn tell_notifier(bits: u64) {
    if bits == 0 {
        return;
    }
    let board = BOARD.get();
    board.waiting.fetch_or(bits, SeqCst);
    // One of us wakes it: a signal for each commit would cost more than the wake-up. The notifier looks at the bits after
    // it has said that it sleeps, so either it sees ours or we see that. Without a latch the next one finds the bits.
    if board.sleeps.swap(false, SeqCst) {
        latch::set(board.latch.load(SeqCst));
    }
}

/// The notifier's side.
pub mod notifier {
    use super::*;

    /// From now on this process sends for sessions of its database.
    pub fn begin() {
        let board = BOARD.get();
        board.database.store(database::own(), SeqCst);
        board.latch.store(latch::own(), SeqCst);
    }

    /// From now on sessions send for themselves.
    pub fn end() {
        BOARD.get().latch.store(std::ptr::null_mut(), SeqCst);
    }

    /// From now on whoever sets a bit wakes this process. False when bits are set already.
    pub fn may_sleep() -> bool {
        BOARD.get().sleeps.store(true, SeqCst);
        BOARD.get().waiting.load(SeqCst) == 0
    }

    /// Whoever commits in the next moment finds somebody sending.
    pub fn begin_sending() {
        BOARD.get().sent_at.store(clock::now_us(), SeqCst);
    }

    /// The channels that wait; they are the caller's to notify now.
    pub fn take() -> u64 {
        BOARD.get().waiting.swap(0, SeqCst)
    }

    /// Has channels wait again that could not be notified.
    pub fn put_back(bits: u64) {
        BOARD.get().waiting.fetch_or(bits, SeqCst);
    }

    /// The channels behind bits.
    pub fn channels(bits: u64) -> Vec<Channel> {
        let channels = CHANNELS.share();
        let with_bit = |&index: &usize| bits & (1 << index) != 0;
        (0..MAX_CHANNELS)
            .filter(with_bit)
            .map(|index| channels[index])
            .collect()
    }

    /// Remembers whether the database was there, for the next notifier; gives what was remembered.
    pub fn set_database_in_doubt(in_doubt: bool) -> bool {
        BOARD.get().database_is_in_doubt.swap(in_doubt, SeqCst)
    }
}
