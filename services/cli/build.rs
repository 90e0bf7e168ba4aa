//! `include_dir!` does not tell cargo which files it read; without this an edit under sql/ would not rebuild the program.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../../sql");
}
