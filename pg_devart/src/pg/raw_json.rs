//! A jsonb value carried from a query to a result, or from an argument to a query, as it is.
//! Payloads and results can be 256 KiB; parsing them only to print them again would cost more than
//! the claim that carries them.

use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, UnboxDatum};
use pgrx::nullable::Nullable;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;

/// The bytes of a detoasted jsonb value, header included.
#[derive(Debug, Clone)]
pub struct RawJsonb(Vec<u8>);

impl RawJsonb {
    /// Size in bytes, as stored uncompressed.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Length in bytes as text.
    pub fn text_len(&self) -> usize {
        let mut value = self.0.clone();
        // SAFETY: behind the header comes the container; the text is zero-terminated, and palloc'ed.
        unsafe {
            let container = value.as_mut_ptr().add(pg_sys::VARHDRSZ).cast();
            let text = pg_sys::JsonbToCString(std::ptr::null_mut(), container, self.len() as i32);
            let length = std::ffi::CStr::from_ptr(text).count_bytes();
            pg_sys::pfree(text.cast());
            length
        }
    }
}

impl FromDatum for RawJsonb {
    unsafe fn from_polymorphic_datum(
        datum: pg_sys::Datum,
        is_null: bool,
        _type: pg_sys::Oid,
    ) -> Option<Self> {
        if is_null {
            return None;
        }
        // SAFETY: the datum is a jsonb, so a varlena; the detoasted one has a four-byte header.
        unsafe {
            let varlena = pg_sys::pg_detoast_datum(datum.cast_mut_ptr());
            let length = pgrx::varlena::varsize_4b(varlena);
            Some(RawJsonb(
                std::slice::from_raw_parts(varlena.cast::<u8>(), length).to_vec(),
            ))
        }
    }
}

impl IntoDatum for RawJsonb {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        // SAFETY: palloc gives room for the bytes, or raises an error.
        let copy = unsafe { pg_sys::palloc(self.0.len()) };
        unsafe { std::ptr::copy_nonoverlapping(self.0.as_ptr(), copy.cast::<u8>(), self.0.len()) };
        Some(copy.into())
    }

    fn type_oid() -> pg_sys::Oid {
        pg_sys::JSONBOID
    }
}

unsafe impl<'fcx> ArgAbi<'fcx> for RawJsonb {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the argument's type is jsonb, as SqlTranslatable says.
        unsafe { arg.unbox_arg_using_from_datum() }.expect("a strict argument is not null")
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        // SAFETY: as above.
        unsafe { arg.unbox_arg_using_from_datum() }.into()
    }
}

/// For elements of array arguments.
unsafe impl UnboxDatum for RawJsonb {
    type As<'src> = RawJsonb;

    unsafe fn unbox<'src>(datum: Datum<'src>) -> Self::As<'src>
    where
        Self: 'src,
    {
        // SAFETY: an element of a jsonb array that is not null.
        unsafe { RawJsonb::from_datum(datum.sans_lifetime(), false) }.expect("not null")
    }
}

unsafe impl BoxRet for RawJsonb {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        match self.into_datum() {
            // SAFETY: a palloc'ed jsonb, which is what the function is declared to return.
            Some(datum) => unsafe { fcinfo.return_raw_datum(datum) },
            None => fcinfo.return_null(),
        }
    }
}

unsafe impl SqlTranslatable for RawJsonb {
    const TYPE_IDENT: &'static str = pgrx::pgrx_resolved_type!(RawJsonb);
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> =
        Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}
