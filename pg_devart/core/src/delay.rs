//! Delays of messages, in steps: a broker needs a queue for each, so there must be few.

/// The steps within a power of ten, in tenths: from 3 s on, none is longer than the one before by more
/// than a third.
const TENTHS: [u64; 10] = [10, 12, 15, 20, 25, 30, 40, 50, 60, 80];

/// The longest step, in seconds (46 days): a queue's time-to-live must fit into 32 bits of milliseconds.
pub const LONGEST_STEP: u64 = 4_000_000;

/// The step for a delay of `seconds`: the smallest that is no shorter, in whole seconds from 1 on, and
/// at most [`LONGEST_STEP`]. What is no positive number counts as no delay.
pub fn delay_step(seconds: f64) -> u64 {
    let steps = (0..)
        .map(|power| 10_u64.pow(power))
        .flat_map(|unit| TENTHS.map(|tenths| tenths * unit));
    steps
        .filter(|tenths| tenths % 10 == 0)
        .map(|tenths| tenths / 10)
        .find(|step| *step >= LONGEST_STEP || *step as f64 >= seconds || seconds.is_nan())
        .unwrap_or(LONGEST_STEP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_never_shorter_than_the_delay_and_never_much_longer() {
        for tenths in (10..2_000_000_u64).step_by(7) {
            let seconds = tenths as f64 / 10.0;
            let step = delay_step(seconds) as f64;
            assert!(step >= seconds, "{seconds} s became {step} s");
            assert!(step < seconds * 2.0, "{seconds} s became {step} s");
        }
    }

    #[test]
    fn steps_are_few_whole_seconds() {
        let mut steps: Vec<u64> = (0..12_000)
            .map(|n| delay_step(f64::from(n) / 100.0))
            .collect();
        steps.dedup();
        assert_eq!(
            steps,
            [
                1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120
            ]
        );
    }

    #[test]
    fn a_delay_that_is_a_step_stays_what_it_is() {
        for step in [1, 5, 10, 12, 15, 3_000, 1_200_000] {
            assert_eq!(delay_step(step as f64), step);
        }
        assert_eq!(delay_step(10.000_001), 12);
    }

    #[test]
    fn absurd_delays_have_steps_too() {
        assert_eq!(delay_step(-5.0), 1);
        assert_eq!(delay_step(0.0), 1);
        assert_eq!(delay_step(f64::NAN), 1);
        assert_eq!(delay_step(f64::INFINITY), LONGEST_STEP);
        assert_eq!(delay_step(1e12), LONGEST_STEP);
    }
}
