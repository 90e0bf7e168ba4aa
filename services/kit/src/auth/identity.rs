//! Somebody whose credential was checked.

use uuid::Uuid;

/// Somebody whose credential was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    Person { id: Uuid, email: Option<String> },
    Agent { id: Uuid },
}

impl Identity {
    /// The id in `auth.users` or `devart.agents`.
    pub fn id(&self) -> Uuid {
        match self {
            Self::Person { id, .. } | Self::Agent { id } => *id,
        }
    }

    /// A name under which people and agents cannot be mistaken for each other.
    pub fn principal(&self) -> String {
        match self {
            Self::Person { id, .. } => format!("user:{id}"),
            Self::Agent { id } => format!("agent:{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_agents_have_different_principals() {
        let id = Uuid::nil();
        let person = Identity::Person { id, email: None };
        assert_ne!(person.principal(), Identity::Agent { id }.principal());
    }
}
