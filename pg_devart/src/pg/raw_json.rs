//! A jsonb value carried from a query to a result, or from an argument to a query, as it is.
//! Payloads and results can be 256 KiB; parsing them only to print them again would cost more than
//! the claim that carries them.

use std::ffi::CStr;

use devart_core::json::JsonProblem;
use pgrx::callconv::{Arg, ArgAbi, BoxRet, FcInfo};
use pgrx::datum::{Datum, UnboxDatum};
use pgrx::direct_function_call;
use pgrx::nullable::Nullable;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;

use crate::pg::json_tree;

/// A detoasted jsonb value, header included. In whole words, since Postgres reads numbers of four bytes
/// within the value from where they lie.
#[derive(Debug, Clone)]
pub struct RawJsonb {
    words: Vec<u64>,
    length: usize,
}

impl RawJsonb {
    /// # Safety
    /// So many bytes must lie there, those of a detoasted jsonb value.
    unsafe fn copy_of(bytes: *const u8, length: usize) -> Self {
        let mut words = vec![0u64; length.div_ceil(size_of::<u64>())];
        // SAFETY: the caller's promise; there is room for the bytes.
        unsafe { std::ptr::copy_nonoverlapping(bytes, words.as_mut_ptr().cast::<u8>(), length) };
        RawJsonb { words, length }
    }

    /// The value, made of one in Rust.
    pub fn of(value: &serde_json::Value) -> Self {
        let datum = pgrx::JsonB(value.clone()).into_datum();
        // SAFETY: the datum is a jsonb.
        let raw = datum.and_then(|datum| unsafe { RawJsonb::from_datum(datum, false) });
        raw.expect("a value of serde_json's is a jsonb")
    }

    /// What nobody could read, or takes more than `most` bytes as text.
    ///
    /// # Errors
    /// The first [`JsonProblem`].
    pub fn check(&self, most: usize) -> Result<(), JsonProblem> {
        json_tree::check(self.container(), most)
    }

    /// Whether this is an object.
    pub fn is_object(&self) -> bool {
        json_tree::is_object(self.container())
    }

    /// The value in Rust. To be checked before: a small value can be a long text.
    ///
    /// # Errors
    /// What serde_json does not read.
    pub fn read(&self) -> serde_json::Result<serde_json::Value> {
        self.with_text(|text| serde_json::from_slice(text.to_bytes()))
    }

    /// What comes behind the header.
    fn container(&self) -> &[u8] {
        let bytes: *const u8 = self.words.as_ptr().cast();
        // SAFETY: the words hold so many bytes.
        let value = unsafe { std::slice::from_raw_parts(bytes, self.length) };
        &value[pg_sys::VARHDRSZ..]
    }

    fn with_text<R>(&self, read: impl FnOnce(&CStr) -> R) -> R {
        let value: *const u8 = self.words.as_ptr().cast();
        // SAFETY: behind the header comes the container, which is only read; the text is
        // zero-terminated, and palloc'ed.
        unsafe {
            let container = value.add(pg_sys::VARHDRSZ).cast_mut().cast();
            let text = pg_sys::JsonbToCString(std::ptr::null_mut(), container, self.length as i32);
            let result = read(CStr::from_ptr(text));
            pg_sys::pfree(text.cast());
            result
        }
    }

    /// The number that this is; infinite when too large for a double.
    pub fn number(&self) -> Option<f64> {
        self.with_text(|text| text.to_str().ok()?.parse().ok())
    }

    /// Whether this is a list.
    pub fn is_list(&self) -> bool {
        self.with_text(|text| text.to_bytes().starts_with(b"["))
    }

    /// Whether `text` is an element of this list, or a key of this object.
    pub fn contains(self, text: &str) -> bool {
        let arguments = [self.into_datum(), text.into_datum()];
        // SAFETY: the arguments are a jsonb and a text.
        unsafe { direct_function_call(pg_sys::jsonb_exists, &arguments) }.unwrap_or(false)
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
            Some(RawJsonb::copy_of(varlena.cast(), length))
        }
    }
}

impl IntoDatum for RawJsonb {
    fn into_datum(self) -> Option<pg_sys::Datum> {
        // SAFETY: palloc gives aligned room for the bytes, or raises an error.
        unsafe {
            let copy = pg_sys::palloc(self.length);
            let bytes: *const u8 = self.words.as_ptr().cast();
            std::ptr::copy_nonoverlapping(bytes, copy.cast::<u8>(), self.length);
            Some(copy.into())
        }
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
