//! What a role may be taken for.

use std::cell::OnceCell;
use std::ffi::CStr;

use pgrx::prelude::*;

use crate::pg::session_user;

/// What kind of caller a role is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Anonymous,
    Person,
    Agent,
    /// The owner, service_role, devart_operator, who has the rights of one of them without
    /// SET ROLE, and superusers: trusted, and named by their role.
    Operator,
    /// Any other role. What it was granted it may do, and nothing for which somebody must be named.
    Stranger,
}

/// Whose rights make an operator.
const OPERATORS: [&CStr; 3] = [c"devart_owner", c"service_role", c"devart_operator"];

/// What the caller is.
pub fn kind() -> Kind {
    thread_local! {
        static ROLES: OnceCell<[(pg_sys::Oid, Kind); 3]> = const { OnceCell::new() };
    }
    let caller = session_user::outer();
    ROLES.with(|roles| {
        let roles = roles.get_or_init(|| {
            [
                (session_user::role(c"devart_agent"), Kind::Agent),
                (session_user::role(c"authenticated"), Kind::Person),
                (session_user::role(c"anon"), Kind::Anonymous),
            ]
        });
        let known = roles.iter().find(|(role, _)| *role == caller);
        known.map_or_else(|| operator_or_stranger(caller), |(_, kind)| *kind)
    })
}

fn operator_or_stranger(caller: pg_sys::Oid) -> Kind {
    let mut operators = OPERATORS.iter().map(|name| session_user::role(name));
    match operators.any(|operator| session_user::has_rights_of(caller, operator)) {
        true => Kind::Operator,
        false => Kind::Stranger,
    }
}
