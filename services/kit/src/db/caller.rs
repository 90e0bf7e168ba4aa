//! Who a transaction acts for.

use serde_json::Value;

use super::one_trip::OneTrip;

/// The roles that a request can take on, as PostgREST does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nobody in particular.
    Anon,
    /// A person.
    Authenticated,
    /// An agent.
    DevartAgent,
}

impl Role {
    /// The role's name in Postgres.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anon => "anon",
            Self::Authenticated => "authenticated",
            Self::DevartAgent => "devart_agent",
        }
    }

    /// The role of that name, unless no request may take it on (`service_role`, say).
    pub fn from_claim(name: &str) -> Option<Self> {
        [Self::Anon, Self::Authenticated, Self::DevartAgent]
            .into_iter()
            .find(|role| role.as_str() == name)
    }
}

/// The role and the claims that policies and functions read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    role: Role,
    claims: String,
}

impl Caller {
    /// A caller with the claims of its (verified) token.
    pub fn new(role: Role, claims: &Value) -> Self {
        Self {
            role,
            claims: claims.to_string(),
        }
    }

    /// The name of its role in Postgres.
    pub fn role(&self) -> &'static str {
        self.role.as_str()
    }

    /// The claims as JSON text.
    pub fn claims(&self) -> &str {
        &self.claims
    }
}

/// A connection that has no caller's role, and the caller for whom one of the functions in
/// `sql/idempotent/780_as_caller.sql` is to be called over it: they take on role and claims in the
/// call itself.
pub struct AsCaller<'a> {
    /// What to call over.
    pub connection: OneTrip<'a>,
    /// Whose role and claims are the call's first two arguments.
    pub caller: &'a Caller,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_three_request_roles_can_be_claimed() {
        assert_eq!(Role::from_claim("authenticated"), Some(Role::Authenticated));
        assert_eq!(Role::from_claim("devart_agent"), Some(Role::DevartAgent));
        assert_eq!(Role::from_claim("service_role"), None);
        assert_eq!(Role::from_claim("devart_owner"), None);
    }
}
