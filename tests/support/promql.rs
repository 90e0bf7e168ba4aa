//! The metrics that the code emits, that a process shows, and that a query of Prometheus names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Names of series, each with the labels it was seen with.
pub type Series = BTreeMap<String, BTreeSet<String>>;

const PREFIX: &str = "devart_";

/// The names under which Prometheus gets what the services' sources count, set and record.
pub fn emitted() -> Result<BTreeSet<String>> {
    let services = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../services"));
    let mut names = BTreeSet::new();
    for source in sources(&services)? {
        let code = std::fs::read_to_string(source)?;
        for (call, suffixes) in [
            ("counter!(", &[""][..]),
            ("gauge!(", &[""]),
            ("histogram!(", &["_bucket", "_count", "_sum"]),
        ] {
            for after in code.split(call).skip(1) {
                let name = after.trim_start().strip_prefix('"').unwrap_or_default();
                let name = name.split('"').next().unwrap_or_default();
                names.extend(suffixes.iter().map(|suffix| format!("{name}{suffix}")));
            }
        }
    }
    Ok(names)
}

fn sources(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|it| it == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The series of a `/metrics` answer.
pub fn shown(metrics: &str) -> Series {
    let mut series = Series::new();
    for line in metrics.lines().filter(|line| line.starts_with(PREFIX)) {
        let name = line.split([' ', '{']).next().unwrap_or_default();
        let labels = line.split_once('{').map_or("", |(_, rest)| rest);
        // Quotes delimit values, so what is before "=" and outside of them is a name.
        let names = labels.split('"').step_by(2).filter_map(label_before_value);
        series.entry(name.to_owned()).or_default().extend(names);
    }
    series
}

/// The name at the end of `,name=`, `name=~` or the like.
fn label_before_value(text: &str) -> Option<String> {
    let name = text.trim_end_matches(['=', '!', '~']);
    (name.len() < text.len()).then(|| name.trim_matches([',', '{', ' ']).to_owned())
}

/// The series that a query names.
pub fn metrics_of(query: &str) -> BTreeSet<String> {
    query
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| word.starts_with(PREFIX))
        .map(str::to_owned)
        .collect()
}

/// The labels by which a query selects and groups.
pub fn labels_of(query: &str) -> BTreeSet<String> {
    let selected = query.split('{').skip(1).flat_map(|rest| {
        let matchers = rest.split('}').next().unwrap_or_default();
        matchers
            .split('"')
            .step_by(2)
            .filter_map(label_before_value)
    });
    let grouped = query.split(" by (").skip(1).flat_map(|rest| {
        let labels = rest.split(')').next().unwrap_or_default();
        labels.split(',').map(|label| label.trim().to_owned())
    });
    selected.chain(grouped).collect()
}
