//! What an agent must be able to do for a task, and whether it can.

/// Whether an agent with these capabilities can do tasks that require those.
pub fn serves(capabilities: &[String], required: &[String]) -> bool {
    required.iter().all(|one| capabilities.contains(one))
}

#[cfg(test)]
mod tests {
    fn serves(capabilities: &[&str], required: &[&str]) -> bool {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let (capabilities, required): (Vec<_>, Vec<_>) = (owned(capabilities), owned(required));
        super::serves(&capabilities, &required)
    }

    #[test]
    fn an_agent_needs_all_that_is_required_and_may_have_more() {
        assert!(serves(&["rust", "python", "review"], &["python", "rust"]));
        assert!(!serves(&["rust"], &["python", "rust"]));
    }

    #[test]
    fn what_requires_nothing_can_be_done_by_everybody() {
        assert!(serves(&[], &[]));
    }

    #[test]
    fn capabilities_are_compared_letter_by_letter() {
        assert!(!serves(&["Rust"], &["rust"]));
    }
}
