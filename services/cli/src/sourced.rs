//! Settings of the environment, without those that the `.devart/env` of another installation put
//! there: sourced in one terminal, it would lend its secrets to whatever is set up next.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::{env_file, secrets, whose};

/// The variable of `.devart/env` that names the clone that it belongs to.
pub const INSTALLATION: &str = "DEVART_INSTALLATION";

type Settings = BTreeMap<String, String>;

/// The other clone whose `.devart/env` was sourced, if one was.
pub fn other(environment: &Settings, here: &Path) -> Option<PathBuf> {
    let sourced = Path::new(environment.get(INSTALLATION)?);
    (!whose::is_same(sourced, here)).then(|| sourced.to_owned())
}

/// Leaves what people chose. A value that the other installation has not recorded was given by hand.
pub fn without_others(mut environment: Settings, here: &Path) -> Settings {
    let Some(other) = other(&environment, here) else {
        return environment;
    };
    match env_file::read(&other.join(".devart/env")) {
        Ok(theirs) if !theirs.is_empty() => {
            environment.retain(|name, value| theirs.get(name) != Some(value));
        }
        // Which values are theirs cannot be told.
        _ => environment.retain(|name, _| !secrets::is_recorded(name)),
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random;

    fn settings(entries: &[(&str, &str)]) -> Settings {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        entries.iter().map(owned).collect()
    }

    /// A clone with a record.
    fn installation() -> PathBuf {
        let clone = std::env::temp_dir().join(format!("devart-sourced-{}", random::word(8)));
        std::fs::create_dir_all(clone.join(".devart")).expect("made");
        let record = settings(&[
            ("ADMIN_PASSWORD", "theirs"),
            ("SUPABASE_JWT_SECRET", "theirs"),
            ("TELEGRAM_BOT_TOKEN", "theirs"),
        ]);
        let record: Vec<_> = record.into_iter().collect();
        env_file::write(&clone.join(".devart/env"), "", &record, 0o600).expect("written");
        clone
    }

    fn sourced(clone: &Path) -> Settings {
        let mut environment = settings(&[("DEVART_API_PORT", "9000"), ("RUST_LOG", "debug")]);
        environment.extend(env_file::read(&clone.join(".devart/env")).expect("read"));
        environment.insert(INSTALLATION.to_owned(), clone.display().to_string());
        environment
    }

    #[test]
    fn another_installation_lends_no_secrets() {
        let theirs = installation();
        let left = without_others(sourced(&theirs), Path::new("/here"));
        assert!(!left.values().any(|value| value == "theirs"), "{left:?}");
        assert_eq!(left["DEVART_API_PORT"], "9000");
        // Not even when its record cannot be read any more.
        let environment = sourced(&theirs);
        std::fs::remove_dir_all(&theirs).expect("removed");
        let left = without_others(environment, Path::new("/here"));
        assert!(!left.values().any(|value| value == "theirs"), "{left:?}");
        assert_eq!(left["RUST_LOG"], "debug");
    }

    #[test]
    fn what_was_given_by_hand_counts_and_so_does_ones_own_record() {
        let theirs = installation();
        let mut environment = sourced(&theirs);
        assert_eq!(without_others(environment.clone(), &theirs), environment);
        environment.insert("ADMIN_PASSWORD".to_owned(), "by hand".to_owned());
        let left = without_others(environment, Path::new("/here"));
        assert_eq!(left["ADMIN_PASSWORD"], "by hand");
        std::fs::remove_dir_all(theirs).expect("removed");
    }
}
