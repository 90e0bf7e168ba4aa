//! The names of `sql/incremental`: which schema this program was built for.

use std::{env, fs, path::Path};

const DIRECTORY: &str = "../../sql/incremental";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={DIRECTORY}");
    let files = fs::read_dir(DIRECTORY).expect("sql/incremental is there");
    let mut names: Vec<String> = files
        .map(|file| {
            file.expect("a file")
                .file_name()
                .into_string()
                .expect("UTF-8")
        })
        .filter(|name| name.ends_with(".sql"))
        .collect();
    names.sort();
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&out).join("migrations.rs"), format!("&{names:?}"))
        .expect("OUT_DIR can be written");
}
