//! The parameters of a database URL: what the driver makes of each.

use super::LibpqUrlError;
use super::percent::decode;

/// Parameters that the driver understands, its own spellings among them.
const UNDERSTOOD: [&str; 18] = [
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// libpq's.
const SSL_MODES: [&str; 6] = [
    "disable",
    "allow",
    "prefer",
    "require",
    "verify-ca",
    "verify-full",
];

/// Parameters whose absence changes no outcome, only how long one is waited for.
const IGNORED: [&str; 13] = [
    "client_encoding",
    "connect_timeout",
    "fallback_application_name",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "max_protocol_version",
    "min_protocol_version",
    "sslcompression",
    "sslsni",
    "tcp_user_timeout",
];

/// Further parameters of libpq's, with the values that ask for nothing that the driver does not do.
const HARMLESS_VALUES: [(&str, &[&str]); 17] = [
    ("channel_binding", &["disable", "prefer"]),
    ("gssdelegation", &["0"]),
    ("gssencmode", &["disable", "prefer"]),
    ("gsslib", &[]),
    ("krbsrvname", &[]),
    ("passfile", &[]),
    ("replication", &["false", "off", "no", "0"]),
    ("require_auth", &[]),
    ("requirepeer", &[]),
    ("service", &[]),
    ("ssl_max_protocol_version", &[]),
    ("ssl_min_protocol_version", &["TLSv1", "TLSv1.1", "TLSv1.2"]),
    ("sslcertmode", &["allow"]),
    ("sslcrl", &[]),
    ("sslnegotiation", &["postgres"]),
    ("sslpassword", &[]),
    ("target_session_attrs", &["any"]),
];

/// Whether the driver understands it.
pub(super) fn is_understood(name: &str) -> bool {
    UNDERSTOOD.contains(&name) || (name.starts_with("options[") && name.ends_with(']'))
}

/// Whether its absence changes no outcome.
pub(super) fn is_ignored(name: &str) -> bool {
    IGNORED.contains(&name)
}

/// Whether this is a parameter as libpq knows it, and not the rest of a password.
pub(super) fn is_libpqs(pair: &str) -> bool {
    let Some(Ok(name)) = pair.split_once('=').map(|(name, _)| decode("", name)) else {
        return false;
    };
    let is_harmless = HARMLESS_VALUES.iter().any(|(known, _)| *known == name);
    name == "ssl" || is_understood(&name) || is_harmless || is_ignored(&name)
}

/// The name of a parameter, unless it looks as if it were something else, such as a password's rest.
pub(super) fn shown(name: &str) -> String {
    let is_name = name
        .chars()
        .all(|c| c.is_ascii_alphabetic() || c == '_' || c == '-');
    let is_short = name.len() <= 40;
    if is_name && is_short {
        name.to_owned()
    } else {
        "(not shown)".to_owned()
    }
}

/// Refuses what would have an effect with libpq and has none here.
pub(super) fn require_supported(name: &str, value: &str) -> Result<(), LibpqUrlError> {
    // The driver would repeat the value.
    if matches!(name, "sslmode" | "ssl-mode") && !SSL_MODES.contains(&value) {
        return Err(LibpqUrlError::Unsupported(name.to_owned()));
    }
    if is_understood(name) {
        return Ok(());
    }
    match HARMLESS_VALUES.iter().find(|(known, _)| *known == name) {
        None => Err(LibpqUrlError::Unknown(shown(name))),
        Some((_, harmless)) if harmless.contains(&value) => Ok(()),
        Some(_) => Err(LibpqUrlError::Unsupported(name.to_owned())),
    }
}
