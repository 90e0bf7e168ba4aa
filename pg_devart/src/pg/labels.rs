//! Labels of enumerated types. A value of such a type is the OID of its label.

use std::ffi::CStr;

use pgrx::datum::{Datum, UnboxDatum};
use pgrx::enum_helper::lookup_enum_by_oid;
use pgrx::prelude::*;

/// The value for a label of the type `enumeration`.
pub fn oid(enumeration: pg_sys::Oid, label: &CStr) -> pg_sys::Oid {
    // SAFETY: a look-up in the catalog's cache, whose entry is released after use.
    unsafe {
        let entry = pg_sys::SearchSysCache2(
            pg_sys::SysCacheIdentifier::ENUMTYPOIDNAME as i32,
            enumeration.into(),
            label.as_ptr().into(),
        );
        assert!(!entry.is_null(), "the type has no label {label:?}");
        let oid = (*pg_sys::GETSTRUCT(entry).cast::<pg_sys::FormData_pg_enum>()).oid;
        pg_sys::ReleaseSysCache(entry);
        oid
    }
}

/// A value of an enumerated type: the OID of its label.
#[derive(PartialEq, Eq, Clone, Copy)]
pub struct Label(pub pg_sys::Oid);

impl Label {
    /// The label itself.
    pub fn name(self) -> String {
        lookup_enum_by_oid(self.0).0
    }
}

impl FromDatum for Label {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _type: pg_sys::Oid,
    ) -> Option<Self> {
        (!is_null).then(|| Label(pg_sys::Oid::from(datum.value() as u32)))
    }
}

impl IntoDatum for Label {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        self.0.into_datum()
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::ANYENUMOID
    }

    fn is_compatible_with(_other: pg_sys::Oid) -> bool {
        true
    }
}

unsafe impl UnboxDatum for Label {
    type As<'src> = Label;

    unsafe fn unbox<'src>(datum: Datum<'src>) -> Self::As<'src>
    where
        Self: 'src,
    {
        Label(pg_sys::Oid::from(datum.sans_lifetime().value() as u32))
    }
}
