//! Columns by name, of rows that no statement selected.

use std::cell::RefCell;
use std::ffi::{CStr, c_char};

use pgrx::prelude::*;

/// A column's name in the code, and its number in a row type.
struct Known {
    row_type: pg_sys::Oid,
    column: *const c_char,
    number: i32,
}

thread_local! {
    /// Few enough to go through. Comparing a name with those of thirty columns costs more than reading
    /// the value.
    static KNOWN: RefCell<Vec<Known>> = const { RefCell::new(Vec::new()) };
}

/// The number of a column, from 1 on.
///
/// # Safety
/// The descriptor must be that of an open table.
pub unsafe fn number(descriptor: pg_sys::TupleDesc, column: &'static CStr) -> i32 {
    // SAFETY: the caller's promise.
    unsafe {
        let row_type = (*descriptor).tdtypeid;
        let is_this = |one: &&Known| one.row_type == row_type && one.column == column.as_ptr();
        let known = KNOWN.with_borrow(|known| known.iter().find(is_this).map(|one| one.number));
        // The column may have been dropped, and another made in its name.
        if let Some(number) = known.filter(|&number| is_named(descriptor, number, column)) {
            return number;
        }
        let number = pg_sys::SPI_fnumber(descriptor, column.as_ptr());
        assert!(number > 0, "no column {column:?}");
        KNOWN.with_borrow_mut(|known| {
            known.retain(|one| !is_this(&one));
            known.push(Known {
                row_type,
                column: column.as_ptr(),
                number,
            });
        });
        number
    }
}

unsafe fn is_named(descriptor: pg_sys::TupleDesc, number: i32, column: &CStr) -> bool {
    // SAFETY: the caller's promise; the number is checked.
    unsafe {
        number <= (*descriptor).natts && {
            let attribute = attribute(descriptor, number);
            CStr::from_ptr((*attribute).attname.data.as_ptr()) == column
        }
    }
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

/// The type of a column.
///
/// # Safety
/// The descriptor must be that of an open table.
pub unsafe fn type_of(descriptor: pg_sys::TupleDesc, column: &'static CStr) -> pg_sys::Oid {
    // SAFETY: the caller's promise.
    unsafe { pg_sys::SPI_gettypeid(descriptor, number(descriptor, column)) }
}

/// The value of a column of the row in a slot, `None` for SQL null. The column must be of that type.
///
/// # Safety
/// The slot must hold a row of an open table.
pub unsafe fn get<T: FromDatum>(
    slot: *mut pg_sys::TupleTableSlot,
    column: &'static CStr,
) -> Option<T> {
    let mut is_null = false;
    // SAFETY: the caller's promise.
    unsafe {
        let number = number((*slot).tts_tupleDescriptor, column);
        let datum = pg_sys::slot_getattr(slot, number, &mut is_null);
        T::from_datum(datum, is_null)
    }
}
