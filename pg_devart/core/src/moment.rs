//! Which points in time can be given to devart: those that every part of it can reckon with.

/// Of the first one, in seconds since 1970: 1970-01-01T00:00:00Z.
pub const FIRST_SECONDS: i64 = 0;

/// Of the first one that is too late, in seconds since 1970: 3000-01-01T00:00:00Z.
pub const END_SECONDS: i64 = 32_503_680_000;

/// From the beginning of 1970 to that of 2000, from which Postgres counts.
pub const POSTGRES_EPOCH_SECONDS: i64 = 946_684_800;

/// The longest time, in seconds, that anything can be put off by: a year.
pub const LONGEST_DELAY_SECONDS: i64 = 365 * 86_400;

/// What is told of one that cannot be given. Goes on after the name of an argument.
pub const OUT_OF_RANGE: &str = "must be from 1970-01-01T00:00:00Z to before 3000-01-01T00:00:00Z";

/// Whether a point in time, in seconds since 1970, can be given.
pub fn is_sensible(unix_seconds: i64) -> bool {
    (FIRST_SECONDS..END_SECONDS).contains(&unix_seconds)
}

/// The same, in microseconds since 2000, as Postgres counts. Its infinities are none.
pub fn is_sensible_in_postgres(microseconds: i64) -> bool {
    is_sensible(
        microseconds
            .div_euclid(1_000_000)
            .saturating_add(POSTGRES_EPOCH_SECONDS),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_begins_in_1970_and_ends_before_3000() {
        assert!(is_sensible(FIRST_SECONDS));
        assert!(!is_sensible(FIRST_SECONDS - 1));
        assert!(is_sensible(END_SECONDS - 1));
        assert!(!is_sensible(END_SECONDS));
    }

    #[test]
    fn postgres_infinities_and_what_comes_just_before_1970_are_outside() {
        assert!(is_sensible_in_postgres(0));
        for outside in [i64::MAX, i64::MIN, -POSTGRES_EPOCH_SECONDS * 1_000_000 - 1] {
            assert!(!is_sensible_in_postgres(outside), "{outside}");
        }
        assert!(is_sensible_in_postgres(-POSTGRES_EPOCH_SECONDS * 1_000_000));
    }
}
