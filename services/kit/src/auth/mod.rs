//! Who is asking: a person with a JWT, or an agent with a key or a JWT. Knows no HTTP: the services
//! take credentials out of their requests and answer refusals in their own form.

mod agent_key;
mod error;
mod identity;
mod tokens;

pub use agent_key::PresentedKey;
pub use error::{AuthError, AuthResult};
pub use identity::Identity;
pub use tokens::{AGENT_TOKEN_LIFETIME, AUDIENCE, SESSION_LIFETIME, Tokens};
