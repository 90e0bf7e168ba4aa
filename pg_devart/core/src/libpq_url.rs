//! Database URLs as libpq reads them, rewritten for a driver whose parser knows fewer of them.
//!
//! The driver's parser refuses `postgresql://user@/db?host=/run/postgresql` (no host behind the
//! `@`), reads a `+` as a space and passes over parameters that it does not know. So everything is
//! moved into the query of a URL without a host, and what the driver cannot do is refused by name.

mod parameter;
mod percent;

use std::collections::BTreeMap;

use parameter::{is_ignored, is_libpqs, is_understood, require_supported, shown};
use percent::{decode, encode};

/// Why a text is not a URL that we can connect with. Shows no value: one may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LibpqUrlError {
    /// Another scheme, or parameters as `host=... dbname=...`.
    #[error("it must begin with postgresql:// or postgres://")]
    Scheme,
    /// A `%` without two hexadecimal digits behind it, or bytes that are not UTF-8 or zero.
    #[error("its {0} is wrongly percent-encoded")]
    Encoding(String),
    /// An IPv6 address without its closing bracket, or text behind it.
    #[error("its host begins with [ and is not an IPv6 address in brackets")]
    Brackets,
    /// A port that is no number from 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// Hosts to try one after the other.
    #[error("it names several hosts; one is supported")]
    SeveralHosts,
    /// What looks like parameters is the rest of a password that has a bare `?` in it. Not shown.
    #[error("it has an @ behind a ?; in a user's name or a password write ? as %3F and @ as %40")]
    MisplacedQuestionMark,
    /// A part of the query without `=`, or with two.
    #[error("its parameter {0} is not written as name=value")]
    NotAPair(String),
    /// A parameter that libpq does not know either.
    #[error("its parameter {0} is not known")]
    Unknown(String),
    /// A parameter of libpq's that would have an effect there and has none here.
    #[error("its parameter {0} is not supported with this value")]
    Unsupported(String),
}

type Parameters = BTreeMap<String, String>;

/// The same as a URL without a host, with all else as percent-encoded parameters.
///
/// # Errors
/// When libpq would refuse it, or when it asks for something that the driver cannot do.
pub fn rewrite(url: &str) -> Result<String, LibpqUrlError> {
    let rest = ["postgresql://", "postgres://"]
        .into_iter()
        .find_map(|scheme| url.strip_prefix(scheme))
        .ok_or(LibpqUrlError::Scheme)?;
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut parameters = Parameters::new();
    read_address(address, &mut parameters)?;
    read_query(query, &mut parameters)?;
    check(&mut parameters)?;
    Ok(write_url(&parameters))
}

/// `user:password@host:port/dbname`, any part of which may be missing.
fn read_address(address: &str, parameters: &mut Parameters) -> Result<(), LibpqUrlError> {
    let (authority, database) = address.split_once('/').unwrap_or((address, ""));
    let (login, server) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = read_server(server)?;
    let parts = [
        ("user", user),
        ("password", password),
        ("host", host),
        ("port", port),
        ("dbname", database),
    ];
    for (name, value) in parts {
        parameters.insert(name.to_owned(), decode(name, value)?);
    }
    Ok(())
}

fn read_server(server: &str) -> Result<(&str, &str), LibpqUrlError> {
    if server.contains(',') {
        return Err(LibpqUrlError::SeveralHosts);
    }
    let Some(bracketed) = server.strip_prefix('[') else {
        return Ok(server.split_once(':').unwrap_or((server, "")));
    };
    let (host, rest) = bracketed.split_once(']').ok_or(LibpqUrlError::Brackets)?;
    match (host, rest, rest.strip_prefix(':')) {
        ("", _, _) => Err(LibpqUrlError::Brackets),
        (_, "", _) => Ok((host, "")),
        (_, _, Some(port)) => Ok((host, port)),
        _ => Err(LibpqUrlError::Brackets),
    }
}

/// `name=value&...`; of two with the same name the later counts.
fn read_query(query: &str, parameters: &mut Parameters) -> Result<(), LibpqUrlError> {
    let pairs = || query.split('&').filter(|pair| !pair.is_empty());
    if query.contains('@') && !pairs().all(is_libpqs) {
        return Err(LibpqUrlError::MisplacedQuestionMark);
    }
    for pair in pairs() {
        let name = pair.split('=').next().unwrap_or_default();
        let not_a_pair = || LibpqUrlError::NotAPair(shown(name));
        let (_, value) = pair.split_once('=').ok_or_else(not_a_pair)?;
        if value.contains('=') {
            return Err(not_a_pair());
        }
        let name = decode("name of a parameter", name)?;
        let value = decode(&shown(&name), value)?;
        // JDBC's way of asking for it, which libpq takes, too.
        if (name.as_str(), value.as_str()) == ("ssl", "true") {
            parameters.insert("sslmode".to_owned(), "require".to_owned());
        } else {
            parameters.insert(name, value);
        }
    }
    Ok(())
}

/// Leaves what the driver is to be told.
fn check(parameters: &mut Parameters) -> Result<(), LibpqUrlError> {
    parameters.retain(|name, value| !value.is_empty() && !is_ignored(name));
    for (name, value) in parameters.iter() {
        require_supported(name, value)?;
    }
    parameters.retain(|name, _| is_understood(name));
    if parameters
        .get("port")
        .is_some_and(|port| port.parse().unwrap_or(0_u16) == 0)
    {
        return Err(LibpqUrlError::Port);
    }
    if parameters.contains_key("hostaddr") {
        parameters.remove("host");
    }
    let host = parameters.get("host").map(String::as_str);
    if host.is_some_and(|host| host.contains(',')) {
        return Err(LibpqUrlError::SeveralHosts);
    }
    // Nobody listens in on a Unix socket: libpq does not look at sslmode there.
    if host.is_some_and(|host| host.starts_with('/')) {
        parameters.remove("sslmode");
        parameters.remove("ssl-mode");
    }
    Ok(())
}

fn write_url(parameters: &Parameters) -> String {
    let mut url = String::from("postgres:///");
    let mut separator = '?';
    for (name, value) in parameters {
        url.push(separator);
        encode(name, &mut url);
        url.push('=');
        encode(value, &mut url);
        separator = '&';
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(url: &str) -> Vec<(String, String)> {
        let rewritten = rewrite(url).expect("a URL");
        let query = rewritten.strip_prefix("postgres:///").expect("no host");
        let query = query.strip_prefix('?').unwrap_or_default();
        query
            .split('&')
            .filter(|it| !it.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').expect("a pair");
                let decoded = |text| decode("", text).expect("decoded");
                (decoded(name), decoded(value))
            })
            .collect()
    }

    fn assert_means(url: &str, expected: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut expected: Vec<_> = expected.iter().map(owned).collect();
        expected.sort();
        assert_eq!(parameters(url), expected, "{url}");
    }

    #[test]
    fn an_at_sign_in_a_parameters_value_is_no_password() {
        for url in [
            "postgres://h/db?user=me@corp&connect_timeout=5",
            "postgres://h/db?user=me@corp&",
            "postgres://h/db?%75ser=me@corp",
        ] {
            assert!(rewrite(url).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_unix_socket_can_be_named_in_each_of_libpqs_ways() {
        let expected = [("user", "u"), ("host", "/run/pg"), ("dbname", "db")];
        for url in [
            "postgresql://u@/db?host=/run/pg",
            "postgres://u@/db?host=/run/pg",
            "postgresql://u@?host=/run/pg&dbname=db",
            "postgres:///db?host=/run/pg&user=u",
            "postgresql://u@%2Frun%2Fpg/db",
            "postgresql:///?host=%2Frun%2Fpg&user=u&dbname=db",
        ] {
            assert_means(url, &expected);
        }
        assert_means(
            "postgresql://u@:5433/db?host=/run/pg",
            &[
                ("user", "u"),
                ("host", "/run/pg"),
                ("dbname", "db"),
                ("port", "5433"),
            ],
        );
    }

    #[test]
    fn an_address_of_the_network_stays_what_it_is() {
        assert_means(
            "postgresql://u:p%40ss+w@host.example:5433/d%20b?sslmode=require&application_name=x+y",
            &[
                ("user", "u"),
                ("password", "p@ss+w"),
                ("host", "host.example"),
                ("port", "5433"),
                ("dbname", "d b"),
                ("sslmode", "require"),
                ("application_name", "x+y"),
            ],
        );
        assert_means(
            "postgres://[2001:db8::1]:5433/db",
            &[("host", "2001:db8::1"), ("port", "5433"), ("dbname", "db")],
        );
        assert_means("postgresql://", &[]);
        assert_means("postgresql://?port=&host=", &[]);
    }

    #[test]
    fn options_and_their_spaces_arrive() {
        assert_means(
            "postgres:///db?options=-c%20statement_timeout%3D5s&options[lock_timeout]=1s",
            &[
                ("dbname", "db"),
                ("options", "-c statement_timeout=5s"),
                ("options[lock_timeout]", "1s"),
            ],
        );
    }

    #[test]
    fn the_query_counts_more_than_the_address_and_hostaddr_more_than_host() {
        assert_means(
            "postgres://u@host/db?user=v&host=/run/pg&sslmode=require",
            &[("user", "v"), ("host", "/run/pg"), ("dbname", "db")],
        );
        assert_means(
            "postgres://host/?hostaddr=10.0.0.1&ssl=true",
            &[("hostaddr", "10.0.0.1"), ("sslmode", "require")],
        );
    }

    #[test]
    fn what_changes_no_outcome_is_passed_over() {
        assert_means(
            "postgres://host/?connect_timeout=5&keepalives=1&channel_binding=prefer\
             &target_session_attrs=any",
            &[("host", "host")],
        );
    }

    #[test]
    fn nonsense_is_refused_by_the_name_of_its_part() {
        use LibpqUrlError::*;
        let named = str::to_owned;
        for (url, error) in [
            ("mysql://host/db", Scheme),
            ("host=/run/pg dbname=db", Scheme),
            ("postgres:/host", Scheme),
            ("", Scheme),
            ("postgres://u%zz@host", Encoding(named("user"))),
            ("postgres://u:%00@host", Encoding(named("password"))),
            ("postgres://host/%ff", Encoding(named("dbname"))),
            ("postgres://host/%4", Encoding(named("dbname"))),
            ("postgres://[::1/db", Brackets),
            ("postgres://[::1]x/db", Brackets),
            ("postgres://[]/db", Brackets),
            ("postgres://host:port/db", Port),
            ("postgres://host:0/db", Port),
            ("postgres://host:70000/db", Port),
            ("postgres://a,b/db", SeveralHosts),
            ("postgres:///db?host=a,b", SeveralHosts),
            ("postgres://host/db?sslmode", NotAPair(named("sslmode"))),
            ("postgres://host/db?user=a=b", NotAPair(named("user"))),
            ("postgres://host/db?uzer=x", Unknown(named("uzer"))),
            ("postgres://me:ab?hunter2@host/db", MisplacedQuestionMark),
            ("postgres://me:ab?hunter2=1@host/db", MisplacedQuestionMark),
            (
                "postgres://me:ab?hunter2%40host/db",
                NotAPair(named("(not shown)")),
            ),
            (
                "postgres://host/db?hunter2=1",
                Unknown(named("(not shown)")),
            ),
            (
                "postgres://host/db?sslmode=s3cret",
                Unsupported(named("sslmode")),
            ),
            ("postgres://host/db?HOST=x", Unknown(named("HOST"))),
            (
                "postgres://host/db?channel_binding=require",
                Unsupported(named("channel_binding")),
            ),
            ("postgres://host/db?sslcrl=/x", Unsupported(named("sslcrl"))),
        ] {
            assert_eq!(rewrite(url), Err(error), "{url}");
        }
    }
}
