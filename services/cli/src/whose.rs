//! Whose servers and data a record is about. A clone may have been copied with its `.devart`, or
//! moved; so each record names the clone that it was made for.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Whether a record of the clone at `recorded` is about the one at `here`: it is the same, or it
/// was moved here, for nothing is set up at the old place.
pub fn is_ours(recorded: &Path, here: &Path) -> bool {
    // A place that may not be looked into is no empty one.
    is_same(recorded, here) || matches!(recorded.join(".devart").try_exists(), Ok(false))
}

/// Whether both are one directory, by whatever path.
pub fn is_same(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    one == other || identity(one).is_some_and(|it| Some(it) == identity(other))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::random;

    fn clone() -> PathBuf {
        let dir = std::env::temp_dir().join(format!("devart-whose-{}", random::word(8)));
        std::fs::create_dir_all(dir.join(".devart")).expect("made");
        dir
    }

    #[test]
    fn a_copy_is_not_the_original_and_a_moved_clone_is() {
        let (original, copy) = (clone(), clone());
        assert!(is_ours(&original, &original));
        assert!(!is_ours(&original, &copy));
        std::fs::remove_dir_all(&original).expect("removed");
        assert!(is_ours(&original, &copy));
        std::fs::remove_dir_all(&copy).expect("removed");
    }

    #[test]
    fn a_clone_is_itself_by_whatever_path() {
        let (original, link) = (clone(), clone());
        std::fs::remove_dir_all(&link).expect("removed");
        std::os::unix::fs::symlink(&original, &link).expect("linked");
        assert!(is_ours(&link, &original));
        std::fs::remove_file(link).expect("removed");
        std::fs::remove_dir_all(original).expect("removed");
    }
}
