//! Looks rows up through an index without the executor.
//!
//! Setting a statement up costs Postgres several times what finding one row does, so the few looks
//! that every claim, start and completion takes are index scans of their own. They see what a
//! statement at this moment would see. Rows are changed by SQL only.

use std::ffi::CStr;

use pgrx::prelude::*;

use crate::pg::spi::Session;
use crate::pg::{columns, snapshot, usable};

/// What an index column must be. One for each column of the index, from the first, none left out.
pub struct Key {
    strategy: u32,
    value: pg_sys::Datum,
    kind: pg_sys::Oid,
}

impl Key {
    pub fn equals<T: IntoDatum>(value: T) -> Self {
        Key::of(pg_sys::BTEqualStrategyNumber, value)
    }

    pub fn at_least<T: IntoDatum>(value: T) -> Self {
        Key::of(pg_sys::BTGreaterEqualStrategyNumber, value)
    }

    fn of<T: IntoDatum>(strategy: u32, value: T) -> Self {
        Key {
            strategy,
            value: value.into_datum().expect("keys are not null"),
            kind: T::type_oid(),
        }
    }

    /// Whether an index column that compares this type can be asked for it. Labels are OIDs.
    fn fits(&self, compared: pg_sys::Oid) -> bool {
        let is_label = self.kind == pg_sys::OIDOID && compared == pg_sys::ANYENUMOID;
        self.kind == compared || is_label
    }
}

/// Names a table and one of its B-tree indexes.
pub struct Index {
    pub schema: &'static CStr,
    pub table: &'static CStr,
    pub name: &'static CStr,
}

impl Index {
    /// What `read` makes of the first row under the keys; `None` when there is no such row.
    pub fn first<R>(
        &self,
        session: &Session,
        keys: &[Key],
        read: impl FnOnce(&Found) -> R,
    ) -> Option<R> {
        self.scan(session, Purpose::Read, keys.len(), |scan| {
            scan.seek(keys);
            scan.next().map(|found| read(&found))
        })
    }

    pub fn any(&self, session: &Session, keys: &[Key]) -> bool {
        self.first(session, keys, |_| ()).is_some()
    }

    /// Whether there are by now other rows under the keys than this transaction sees. Without cost
    /// where each statement sees what there is.
    pub fn differs_by_now<const N: usize>(
        &self,
        session: &Session,
        keys: impl Fn() -> [Key; N],
    ) -> bool {
        snapshot::is_for_the_whole_transaction()
            && self.places(session, Sees::Now, &keys())
                != self.places(session, Sees::Itself, &keys())
    }

    /// What `read` makes of each row that there is by now, whatever this transaction sees.
    pub fn all_by_now<R>(&self, session: &Session, read: impl Fn(&Found) -> R) -> Vec<R> {
        self.scan_seeing(session, Sees::Now, Purpose::Read, 0, |scan| {
            scan.seek(&[]);
            let mut rows = Vec::new();
            while let Some(found) = scan.next() {
                rows.push(read(&found));
            }
            rows
        })
    }

    /// Where the rows under the keys are.
    fn places(&self, session: &Session, sees: Sees, keys: &[Key]) -> Vec<(u32, u16)> {
        self.scan_seeing(session, sees, Purpose::Read, keys.len(), |scan| {
            scan.seek(keys);
            let mut places = Vec::new();
            while let Some(found) = scan.next() {
                places.push(found.place());
            }
            places
        })
    }

    /// Opens the index for the time of `work`, which looks under so many `keys` each time. After an error
    /// the end of the transaction closes what is open.
    ///
    /// Raises 55000 when the index cannot be used as it is, 40001 when not by this transaction.
    pub fn scan<R>(
        &self,
        session: &Session,
        purpose: Purpose,
        keys: usize,
        work: impl FnOnce(&mut Scan) -> R,
    ) -> R {
        self.scan_seeing(session, Sees::Itself, purpose, keys, work)
    }

    fn scan_seeing<R>(
        &self,
        _session: &Session,
        sees: Sees,
        purpose: Purpose,
        keys: usize,
        work: impl FnOnce(&mut Scan) -> R,
    ) -> R {
        // SAFETY: table and index are open, under a lock that is kept until the transaction ends, while
        // the scan lives; the snapshot is active meanwhile. `_session` proves that a transaction runs.
        unsafe {
            pg_sys::CommandCounterIncrement();
            let snapshot = match sees {
                Sees::Itself => pg_sys::GetTransactionSnapshot(),
                Sees::Now => pg_sys::GetLatestSnapshot(),
            };
            pg_sys::PushActiveSnapshot(snapshot);
            let table = pg_sys::table_open(self.oid_of(self.table), purpose.table_lock());
            let index = pg_sys::index_open(self.oid_of(self.name), ACCESS_SHARE);
            usable::check(table, index, keys);
            let mut scan = Scan::begin(table, index, keys);
            let result = work(&mut scan);
            scan.end();
            pg_sys::index_close(index, NO_LOCK);
            pg_sys::table_close(table, NO_LOCK);
            pg_sys::PopActiveSnapshot();
            result
        }
    }

    pub fn table_oid(&self) -> pg_sys::Oid {
        self.oid_of(self.table)
    }

    /// Whether there is such a table. An older devart may not have it yet.
    pub fn has_table(&self) -> bool {
        self.find(self.table) != pg_sys::InvalidOid
    }

    /// Whether there is such an index, as there may not be in an older devart.
    pub fn exists(&self) -> bool {
        self.find(self.name) != pg_sys::InvalidOid
    }

    fn find(&self, relation: &CStr) -> pg_sys::Oid {
        // SAFETY: look-ups in the catalog's caches.
        unsafe {
            let namespace = pg_sys::get_namespace_oid(self.schema.as_ptr(), false);
            pg_sys::get_relname_relid(relation.as_ptr(), namespace)
        }
    }

    fn oid_of(&self, relation: &CStr) -> pg_sys::Oid {
        let oid = self.find(relation);
        if oid == pg_sys::InvalidOid {
            let message = format!("relation {relation:?} does not exist in {:?}", self.schema);
            ereport!(ERROR, PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE, message);
        }
        oid
    }
}

const NO_LOCK: i32 = pg_sys::NoLock as i32;
const ACCESS_SHARE: i32 = pg_sys::AccessShareLock as i32;

/// Which rows a scan sees.
#[derive(Clone, Copy)]
enum Sees {
    /// Those that the transaction's next statement would.
    Itself,
    /// Those that a transaction would that began now; and this one's own.
    Now,
}

/// What rows are looked for.
pub enum Purpose {
    Read,
    /// To be locked, and then changed by a statement.
    Lock,
}

impl Purpose {
    /// The lock that SELECT and SELECT FOR UPDATE take on the table.
    fn table_lock(&self) -> i32 {
        match self {
            Purpose::Read => ACCESS_SHARE,
            Purpose::Lock => pg_sys::RowShareLock as i32,
        }
    }
}

/// An open index.
pub struct Scan {
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    descriptor: pg_sys::IndexScanDesc,
    found: *mut pg_sys::TupleTableSlot,
}

/// What became of an attempt to lock a row.
#[derive(PartialEq, Eq, Clone, Copy)]
pub enum Locked {
    Yes,
    /// Somebody else has it at the moment.
    Busy,
    /// It was changed or deleted since this look began.
    Overtaken,
}

impl Scan {
    unsafe fn begin(table: pg_sys::Relation, index: pg_sys::Relation, keys: usize) -> Self {
        // SAFETY: both are open, and a snapshot is active.
        unsafe {
            Scan {
                table,
                index,
                descriptor: begin_scan(table, index, keys as i32),
                found: pg_sys::table_slot_create(table, std::ptr::null_mut()),
            }
        }
    }

    unsafe fn end(&mut self) {
        // SAFETY: made by `begin`, and not used after this.
        unsafe {
            pg_sys::ExecDropSingleTupleTableSlot(self.found);
            pg_sys::index_endscan(self.descriptor);
        }
    }

    /// Goes before the first row under the keys; without keys, before the first of all.
    pub fn seek(&mut self, keys: &[Key]) {
        let mut scan_keys: Vec<pg_sys::ScanKeyData> = keys
            .iter()
            .enumerate()
            .map(|(column, key)| self.scan_key(column, key))
            .collect();
        let no_orders = std::ptr::null_mut();
        // SAFETY: the scan began with room for these keys, and copies them.
        unsafe {
            let count = (*self.descriptor).numberOfKeys;
            assert_eq!(scan_keys.len(), count as usize, "keys of a scan");
            let keys = scan_keys.as_mut_ptr();
            pg_sys::index_rescan(self.descriptor, keys, count, no_orders, 0);
        }
    }

    fn scan_key(&self, column: usize, key: &Key) -> pg_sys::ScanKeyData {
        // SAFETY: the index is a B-tree with at least `column` + 1 columns; its caches have one entry each.
        unsafe {
            let family = *(*self.index).rd_opfamily.add(column);
            let kind = *(*self.index).rd_opcintype.add(column);
            let collation = *(*self.index).rd_indcollation.add(column);
            let operator = pg_sys::get_opfamily_member(family, kind, kind, key.strategy as i16);
            if !key.fits(kind) || operator == pg_sys::InvalidOid {
                usable::refuse(self.index, "compares another type in one of its columns");
            }
            let mut scan_key = pg_sys::ScanKeyData::default();
            pg_sys::ScanKeyEntryInitialize(
                &mut scan_key,
                0,
                column as i16 + 1,
                key.strategy as u16,
                pg_sys::InvalidOid,
                collation,
                pg_sys::get_opcode(operator),
                key.value,
            );
            scan_key
        }
    }

    /// The enumerated type of a column of the table.
    pub fn enumeration_of(&self, column: &'static CStr) -> pg_sys::Oid {
        // SAFETY: the table is open.
        unsafe { columns::enumeration_of((*self.table).rd_att, column) }
    }

    /// The next row that the snapshot sees.
    pub fn next(&mut self) -> Option<Found<'_>> {
        // SAFETY: the scan is open, and the slot belongs to its table.
        let found = unsafe {
            pg_sys::index_getnext_slot(
                self.descriptor,
                pg_sys::ScanDirection::ForwardScanDirection,
                self.found,
            )
        };
        found.then_some(Found { scan: self })
    }
}

unsafe fn begin_scan(
    table: pg_sys::Relation,
    index: pg_sys::Relation,
    keys: i32,
) -> pg_sys::IndexScanDesc {
    // SAFETY: the caller has both open, and a snapshot is active.
    unsafe {
        let snapshot = pg_sys::GetActiveSnapshot();
        #[cfg(not(feature = "pg18"))]
        return pg_sys::index_beginscan(table, index, snapshot, keys, 0);
        #[cfg(feature = "pg18")]
        {
            let no_counters = std::ptr::null_mut();
            pg_sys::index_beginscan(table, index, snapshot, no_counters, keys, 0)
        }
    }
}

/// A row that a scan has found.
pub struct Found<'s> {
    scan: &'s mut Scan,
}

impl Found<'_> {
    /// The value of a column, `None` for SQL null. Raises 42804 for a column of another type.
    pub fn get<T: FromDatum + IntoDatum>(&self, column: &'static CStr) -> Option<T> {
        // SAFETY: the slot holds a row of the table.
        unsafe { columns::get(self.scan.found, column) }
    }

    /// Where the row is: block and offset.
    fn place(&self) -> (u32, u16) {
        // SAFETY: the slot holds a row of the table.
        let place = unsafe { (*self.scan.found).tts_tid };
        let block = u32::from(place.ip_blkid.bi_hi) << 16 | u32::from(place.ip_blkid.bi_lo);
        (block, place.ip_posid)
    }

    /// The enumerated type of a column.
    pub fn enumeration_of(&self, column: &'static CStr) -> pg_sys::Oid {
        self.scan.enumeration_of(column)
    }

    /// The value of a column that is never null.
    pub fn required<T: FromDatum + IntoDatum>(&self, column: &'static CStr) -> T {
        self.get(column)
            .unwrap_or_else(|| panic!("{column:?} is null"))
    }

    /// Locks the row as SELECT FOR NO KEY UPDATE SKIP LOCKED would, except that it does not go on to a
    /// newer version.
    ///
    /// Raises 40001 where the transaction may only see what was there when it began, and the row was
    /// changed since.
    pub fn try_lock(&self) -> Locked {
        use pg_sys::{LockTupleMode, LockWaitPolicy, TM_Result};

        let mut failure = pg_sys::TM_FailureData::default();
        // SAFETY: the slots belong to the open table. The row's place is copied, since locking writes it.
        unsafe {
            let slot = pg_sys::table_slot_create(self.scan.table, std::ptr::null_mut());
            let mut place = (*self.scan.found).tts_tid;
            let lock = (*(*self.scan.table).rd_tableam)
                .tuple_lock
                .expect("tables can lock");
            let result = lock(
                self.scan.table,
                &mut place,
                pg_sys::GetActiveSnapshot(),
                slot,
                pg_sys::GetCurrentCommandId(true),
                LockTupleMode::LockTupleNoKeyExclusive,
                LockWaitPolicy::LockWaitSkip,
                0,
                &mut failure,
            );
            pg_sys::ExecDropSingleTupleTableSlot(slot);
            match result {
                TM_Result::TM_Ok => Locked::Yes,
                TM_Result::TM_WouldBlock => Locked::Busy,
                TM_Result::TM_Updated if snapshot::is_for_the_whole_transaction() => {
                    snapshot::refuse("could not serialize access due to concurrent update")
                }
                TM_Result::TM_Deleted if snapshot::is_for_the_whole_transaction() => {
                    snapshot::refuse("could not serialize access due to concurrent delete")
                }
                _ => Locked::Overtaken,
            }
        }
    }
}
