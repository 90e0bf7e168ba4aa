//! Columns by name, of rows that no statement selected.

use std::cell::RefCell;
use std::ffi::{CStr, c_char};

use pgrx::prelude::*;

use crate::pg::labels::Label;

/// A column's name and type in the code, and what a row type has for it.
struct Known {
    row_type: pg_sys::Oid,
    column: *const c_char,
    /// The type that the code takes it for, which `found` fits.
    wanted: pg_sys::Oid,
    found: pg_sys::Oid,
    number: i32,
}

thread_local! {
    /// Few enough to go through. Comparing a name with those of thirty columns costs more than
    /// reading the value.
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// The number of a column, from 1 on, whose values are those of `T`.
///
/// Raises 42804 for a column of another type: its values would be taken for what they are not; and
/// 55000 for one that is not there: the library was installed before the schema was migrated.
///
/// # Safety
/// The descriptor must be that of an open table.
pub unsafe fn number<T: IntoDatum>(descriptor: pg_sys::TupleDesc, column: &'static CStr) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        let (row_type, wanted) = ((*descriptor).tdtypeid, T::type_oid());
        let is_this = |one: &&Known| {
            one.row_type == row_type && one.column == column.as_ptr() && one.wanted == wanted
        };
        let known = KNOWN.with_borrow(|known| {
            let one = known.iter().find(is_this);
            one.map(|one| (one.number, one.found))
        });
        // The column may have been dropped, and another made in its name, or its type changed.
        if let Some((number, found)) = known
            && is_as_known(descriptor, number, column, found)
        {
            return number;
        }
        let number = pg_sys::SPI_fnumber(descriptor, column.as_ptr());
        if number <= 0 {
            refuse_older_schema((*descriptor).tdtypeid, column);
        }
        let found = (*attribute(descriptor, number)).atttypid;
        refuse_unless_fits(row_type, column, wanted, found);
        KNOWN.with_borrow_mut(|known| {
            known.retain(|one| !is_this(&one));
            known.push(Known {
                row_type,
                column: column.as_ptr(),
                wanted,
                found,
                number,
            });
        });
        number
    }
}

unsafe fn is_as_known(
    descriptor: pg_sys::TupleDesc,
    number: i32,
    column: &CStr,
    found: pg_sys::Oid,
) -> bool {
    // SAFETY: the caller's promise; the number is checked.
    unsafe {
        number <= (*descriptor).natts && {
            let attribute = attribute(descriptor, number);
            (*attribute).atttypid == found
                && CStr::from_ptr((*attribute).attname.data.as_ptr()) == column
        }
    }
}

/// Raises 55000, naming table and column.
fn refuse_older_schema(row_type: pg_sys::Oid, column: &CStr) -> ! {
    let (table, column) = (name_of(row_type), column.to_string_lossy());
    ereport!(
        ERROR,
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        format!("{table} has no column {column}: its schema is older than pg_devart's library"),
        "Run devart migrate."
    );
}

/// Raises 42804, naming table and column.
fn refuse_unless_fits(
    row_type: pg_sys::Oid,
    column: &CStr,
    wanted: pg_sys::Oid,
    found: pg_sys::Oid,
) {
    if fits(wanted, found) {
        return;
    }
    let (table, column) = (name_of(row_type), column.to_string_lossy());
    let wanted = match is_label(wanted) {
        true => "an enumerated type".to_owned(),
        false => name_of(wanted),
    };
    ereport!(
        ERROR,
        PgSqlErrorCode::ERRCODE_DATATYPE_MISMATCH,
        format!(
            "column {column} of {table} is of type {}, not {wanted}",
            name_of(found)
        ),
        "Give the column the type that devart's SQL gives it."
    );
}

/// Whether values of the column type `found` look in memory as those of `wanted`, a type of the
/// code. Those of a domain look as those of its base type, and labels are OIDs.
fn fits(wanted: pg_sys::Oid, found: pg_sys::Oid) -> bool {
    // SAFETY: look-ups in the catalog's caches.
    let base = unsafe { pg_sys::getBaseType(found) };
    let is_text = wanted == pg_sys::TEXTOID && base == pg_sys::VARCHAROID;
    // SAFETY: as above.
    let is_enumerated = is_label(wanted) && unsafe { pg_sys::type_is_enum(base) };
    wanted == base || is_text || is_enumerated
}

fn is_label(wanted: pg_sys::Oid) -> bool {
    wanted == pg_sys::OIDOID || wanted == Label::type_oid()
}

fn name_of(sql_type: pg_sys::Oid) -> String {
    // SAFETY: gives a zero-terminated text, also for a type that does not exist.
    let name = unsafe { CStr::from_ptr(pg_sys::format_type_be(sql_type)) };
    name.to_string_lossy().into_owned()
}

/// What is known of a column.
///
/// # Safety
/// The descriptor must have a column of this number, which is from 1 on.
pub unsafe fn attribute(
    descriptor: pg_sys::TupleDesc,
    number: i32,
) -> *mut pg_sys::FormData_pg_attribute {
    // SAFETY: the caller's promise.
    unsafe {
        #[cfg(not(feature = "pg18"))]
        return (*descriptor).attrs.as_mut_ptr().add(number as usize - 1);
        #[cfg(feature = "pg18")]
        pg_sys::TupleDescAttr(descriptor, number - 1)
    }
}

/// The enumerated type of a column. Raises 42804 for a column of another type.
///
/// # Safety
/// The descriptor must be that of an open table.
pub unsafe fn enumeration_of(descriptor: pg_sys::TupleDesc, column: &'static CStr) -> pg_sys::Oid {
    // SAFETY: the caller's promise.
    unsafe {
        let number = number::<Label>(descriptor, column);
        pg_sys::getBaseType((*attribute(descriptor, number)).atttypid)
    }
}

/// The value of a column of the row in a slot, `None` for SQL null. Raises 42804 for a column of
/// another type.
///
/// # Safety
/// The slot must hold a row of an open table.
pub unsafe fn get<T: FromDatum + IntoDatum>(
    slot: *mut pg_sys::TupleTableSlot,
    column: &'static CStr,
) -> Option<T> {
    let mut is_null = false;
    // SAFETY: the caller's promise.
    unsafe {
        let number = number::<T>((*slot).tts_tupleDescriptor, column);
        let datum = pg_sys::slot_getattr(slot, number, &mut is_null);
        T::from_datum(datum, is_null)
    }
}
