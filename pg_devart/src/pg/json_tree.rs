//! Measures a jsonb value as it lies in memory: what it would take as text, without building that. A
//! number such as 1e131071 lies in ten bytes and is written in 131,072.

use devart_core::json::{JsonProblem, Measure};

// The header of a container, and that of each of its entries (utils/jsonb.h).
const COUNT: u32 = 0x0FFF_FFFF;
const IS_SCALAR: u32 = 0x1000_0000;
const IS_OBJECT: u32 = 0x2000_0000;
const OFFSET_OR_LENGTH: u32 = 0x0FFF_FFFF;
const HAS_OFFSET: u32 = 0x8000_0000;
const TYPE: u32 = 0x7000_0000;
const TYPE_STRING: u32 = 0;
const TYPE_NUMERIC: u32 = 0x1000_0000;
const TYPE_FALSE: u32 = 0x2000_0000;
const TYPE_TRUE: u32 = 0x3000_0000;
const TYPE_NULL: u32 = 0x4000_0000;

const WORD: usize = size_of::<u32>();
/// Decimal digits in one of a numeric's.
const DIGITS: i64 = 4;

/// What is too much in the container that these bytes hold, for somebody who takes so many bytes of
/// text.
///
/// # Errors
/// The first [`JsonProblem`].
pub fn check(container: &[u8], most: usize) -> Result<(), JsonProblem> {
    check_container(container, &mut Measure::new(most))
}

/// Whether the container is an object.
pub fn is_object(container: &[u8]) -> bool {
    word(container, 0).is_ok_and(|header| header & IS_OBJECT != 0)
}

fn check_container(bytes: &[u8], measure: &mut Measure) -> Result<(), JsonProblem> {
    let header = word(bytes, 0)?;
    let count = (header & COUNT) as usize;
    let is_object = header & IS_OBJECT != 0;
    // A scalar lies in an array that is not written.
    let is_written = header & IS_SCALAR == 0;
    if is_written {
        measure.enter()?;
        measure.add(punctuation(count, is_object))?;
    }
    // Of an object first all names, then all values.
    let entries = if is_object { 2 * count } else { count };
    let data = part(bytes, WORD + WORD * entries, bytes.len())?;
    let mut start = 0;
    for index in 0..entries {
        let entry = word(bytes, WORD + WORD * index)?;
        let number = (entry & OFFSET_OR_LENGTH) as usize;
        let end = match entry & HAS_OFFSET {
            0 => start + number,
            _ => number,
        };
        match is_object && index < count {
            true => measure.name(part(data, start, end)?)?,
            false => check_value(entry & TYPE, data, (start, end), measure)?,
        }
        start = end;
    }
    if is_written {
        measure.leave();
    }
    Ok(())
}

/// Brackets, and ", " between members; ": " behind names.
fn punctuation(count: usize, is_object: bool) -> usize {
    2 + 2 * count.saturating_sub(1) + if is_object { 2 * count } else { 0 }
}

fn check_value(
    kind: u32,
    data: &[u8],
    (start, end): (usize, usize),
    measure: &mut Measure,
) -> Result<(), JsonProblem> {
    let aligned = || part(data, start.next_multiple_of(WORD), end);
    match kind {
        TYPE_STRING => measure.text(part(data, start, end)?),
        TYPE_NUMERIC => measure.number(number_chars(aligned()?)?),
        TYPE_NULL | TYPE_TRUE => measure.add(4),
        TYPE_FALSE => measure.add(5),
        _ => check_container(aligned()?, measure),
    }
}

/// How many characters `numeric_out` writes (NumericChoice in utils/adt/numeric.c).
fn number_chars(varlena: &[u8]) -> Result<usize, JsonProblem> {
    let first = *varlena.first().ok_or(JsonProblem::Damaged)?;
    let has_short_header = match cfg!(target_endian = "little") {
        true => first & 0x01 != 0,
        false => first & 0x80 != 0,
    };
    let number = part(
        varlena,
        if has_short_header { 1 } else { WORD },
        varlena.len(),
    )?;
    let header = half_word(number, 0)?;
    let (is_negative, scale, weight, digits) = match header & 0xC000 {
        // Not a number or infinite, which JSON does not have.
        0xC000 => return Err(JsonProblem::Damaged),
        0x8000 => {
            let weight = i64::from(header & 0x3F) - i64::from(header & 0x40);
            (header & 0x2000 != 0, (header & 0x1F80) >> 7, weight, 2)
        }
        sign => {
            let weight = i64::from(half_word(number, 2)? as i16);
            (sign != 0, header & 0x3FFF, weight, 4)
        }
    };
    let whole = match half_word(number, digits) {
        Ok(first) if weight >= 0 => weight * DIGITS + i64::from(first.max(1).ilog10()) + 1,
        _ => 1,
    };
    let point = i64::from(scale > 0);
    let chars = i64::from(is_negative) + whole + point + i64::from(scale);
    usize::try_from(chars).map_err(|_| JsonProblem::Damaged)
}

fn part(bytes: &[u8], start: usize, end: usize) -> Result<&[u8], JsonProblem> {
    bytes.get(start..end).ok_or(JsonProblem::Damaged)
}

fn word(bytes: &[u8], at: usize) -> Result<u32, JsonProblem> {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk());
    word.map(|word| u32::from_ne_bytes(*word))
        .ok_or(JsonProblem::Damaged)
}

fn half_word(bytes: &[u8], at: usize) -> Result<u16, JsonProblem> {
    let half = bytes.get(at..).and_then(|rest| rest.first_chunk());
    half.map(|half| u16::from_ne_bytes(*half))
        .ok_or(JsonProblem::Damaged)
}
