//! Who is asking, as HTTP says it.

pub mod password;
mod session;

pub use session::Session;
