//! What depends on a task, asked of the index: most tasks have nothing that does.

use pgrx::datum::Uuid;

use crate::pg::index::{Index, Key, Purpose};
use crate::pg::spi::Session;

pub const DEPENDENTS: Index = Index {
    schema: c"devart",
    table: c"task_dependencies",
    name: c"task_dependencies_depends_on_idx",
};

/// Whether anything depends on any of these tasks.
pub fn of_any(session: &Session, task_ids: &[Uuid]) -> bool {
    DEPENDENTS.scan(session, Purpose::Read, 1, |scan| {
        task_ids.iter().any(|task_id| {
            scan.seek(&[Key::equals(*task_id)]);
            scan.next().is_some()
        })
    })
}
