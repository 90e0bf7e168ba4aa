//! Printing that never panics, as `println!` does when nobody reads any more or a disk is full.
//!
//! A reader that went away (`devart schema | head`) wanted no more: what follows is dropped, and the
//! command goes on, since it may be half-way through an installation. Any other trouble is kept for
//! the end, when [`failure`] tells it.

use std::fmt::Arguments;
use std::io::{Error, ErrorKind, Write};
use std::sync::OnceLock;

static FAILURE: OnceLock<String> = OnceLock::new();

/// Prints a line to standard output.
#[macro_export]
macro_rules! say {
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}

/// Prints a line to standard error.
#[macro_export]
macro_rules! warn {
    ($($text:tt)*) => { $crate::output::warning(format_args!($($text)*)) };
}

/// What [`say!`](crate::say) calls.
pub fn line(text: Arguments) {
    // In one piece, so that lines of two threads or processes do not mix.
    print(&format!("{text}\n"));
}

/// Prints without a line's end, at once.
pub fn print(text: &str) {
    let mut output = std::io::stdout().lock();
    let printed = output.write_all(text.as_bytes());
    note(printed.and_then(|()| output.flush()));
}

/// What [`warn!`](crate::warn) calls.
pub fn warning(text: Arguments) {
    let _ = std::io::stderr()
        .lock()
        .write_all(format!("{text}\n").as_bytes());
}

fn note(printed: Result<(), Error>) {
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let _ = FAILURE.set(error.to_string());
        }
        _ => {}
    }
}

/// Why something could not be printed, if so.
pub fn failure() -> Option<&'static str> {
    FAILURE.get().map(String::as_str)
}
