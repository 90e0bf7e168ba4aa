//! What a session keeps of tables that hardly ever change, until they do.
//!
//! Every claim asks the same settings and the same lanes. They are read once and forgotten when
//! Postgres tells the session that their table has changed. It tells so for changes of a table's
//! definition; a trigger (`devart_private.forget_cached`) makes it do so for changes of the rows,
//! too, when they commit. Nothing is borrowed while Postgres works.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pgrx::prelude::*;

use crate::pg::index::Index;
use crate::pg::snapshot;
use crate::pg::spi::Session;

/// What was read, by table and purpose.
type Kept = HashMap<(pg_sys::Oid, &'static str), Rc<dyn Any>>;

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
    /// How often anything was forgotten.
    static FORGOTTEN: Cell<u64> = const { Cell::new(0) };
    /// Something was to be forgotten while nothing could be.
    static FORGET_ALL: Cell<bool> = const { Cell::new(false) };
    static LISTENS: Cell<bool> = const { Cell::new(false) };
}

/// What `read` made of the table behind `index`, for the purpose `name`, when it was last read.
pub fn get<T: 'static>(
    session: &Session,
    index: &Index,
    name: &'static str,
    read: impl FnOnce(&Session) -> T,
) -> Rc<T> {
    get_by(index, name, || read(session))
}

/// The same for what is not read at once, or without a session.
pub fn get_by<T: 'static>(index: &Index, name: &'static str, read: impl FnOnce() -> T) -> Rc<T> {
    listen();
    let key = (index.table_oid(), name);
    if FORGET_ALL.take() {
        KEPT.take();
    }
    if let Some(kept) = KEPT.with_borrow(|kept| kept.get(&key).cloned()) {
        return kept.downcast().expect("each name stands for one type");
    }
    let forgotten_before = FORGOTTEN.get();
    let value = Rc::new(read());
    // Not what changed while it was read, and nothing from an old snapshot: it would be kept too
    // long.
    if FORGOTTEN.get() == forgotten_before && !snapshot::is_for_the_whole_transaction() {
        KEPT.with_borrow_mut(|kept| kept.insert(key, value.clone()));
    }
    value
}

fn listen() {
    if !LISTENS.replace(true) {
        // SAFETY: the callback is a plain function, as long as the library is loaded, which is for
        // good.
        unsafe { pg_sys::CacheRegisterRelcacheCallback(Some(forget), pg_sys::Datum::from(0)) };
    }
}

/// Called by Postgres in between; must not fail or ask the catalog. No OID: everything may have
/// changed.
#[pg_guard]
unsafe extern "C-unwind" fn forget(_argument: pg_sys::Datum, table: pg_sys::Oid) {
    FORGOTTEN.set(FORGOTTEN.get().wrapping_add(1));
    KEPT.with(|kept| match kept.try_borrow_mut() {
        Ok(mut kept) => kept.retain(|(of, _), _| table != pg_sys::InvalidOid && *of != table),
        Err(_) => FORGET_ALL.set(true),
    });
}

#[pg_schema]
mod devart_private {
    use super::*;

    /// After changes of a table that sessions keep: makes all of them forget it, once this commits.
    #[pg_trigger]
    fn forget_cached<'a>(
        trigger: &'a PgTrigger<'a>,
    ) -> Result<Option<PgHeapTuple<'a, pgrx::AllocatedByRust>>, pgrx::spi::SpiError> {
        // SAFETY: while the trigger runs, its table is open.
        unsafe {
            let table = (*trigger.trigger_data().tg_relation).rd_id;
            pg_sys::CacheInvalidateRelcacheByRelid(table);
        }
        Ok(None)
    }
}
