//! Keeps what pgrx wrote into the library for `make extension-sql`: nothing refers to that section,
//! so the linker would drop it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,--no-gc-sections");
}
