//! What an error of the broker harms: its message, its channel, or the whole connection.

use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::{Error, ErrorKind};

/// What an error means for the message that met it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It will never work: the broker refuses this message, queue or exchange, and nothing else.
    Message,
    /// It may work later, over the same connection.
    Attempt,
    /// The connection is lost, or of no more use.
    Connection,
}

/// What the error harms. `is_connected`: whether the connection is, as far as it is known.
pub fn harm(error: &Error, is_connected: bool) -> Harm {
    match error.kind() {
        ErrorKind::SerialisationError(_) => Harm::Message,
        ErrorKind::ProtocolError(error) => match error.kind() {
            // Whatever is missing can be made, permissions can be given back, and who holds a queue
            // lets it go.
            AMQPErrorKind::Soft(
                AMQPSoftError::NOTFOUND
                | AMQPSoftError::ACCESSREFUSED
                | AMQPSoftError::RESOURCELOCKED,
            ) => Harm::Attempt,
            AMQPErrorKind::Soft(_) => Harm::Message,
            AMQPErrorKind::Hard(_) => Harm::Connection,
        },
        // Somebody else's error has closed a channel, or too many are open.
        ErrorKind::InvalidChannelState(..)
        | ErrorKind::InvalidChannel(_)
        | ErrorKind::ChannelsLimitReached
            if is_connected =>
        {
            Harm::Attempt
        }
        _ => Harm::Connection,
    }
}

/// Whether the broker says that what was asked for is not there.
pub fn is_not_found(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::ProtocolError(error)
        if *error.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND))
}

#[cfg(test)]
mod tests {
    use lapin::protocol::{AMQPError, AMQPHardError};

    use super::*;

    fn of(kind: AMQPErrorKind) -> Harm {
        harm(
            &ErrorKind::ProtocolError(AMQPError::new(kind, "no".into())).into(),
            true,
        )
    }

    #[test]
    fn what_ends_a_channel_harms_one_message_and_what_ends_a_connection_all() {
        for soft in [
            AMQPSoftError::PRECONDITIONFAILED,
            AMQPSoftError::CONTENTTOOLARGE,
        ] {
            assert_eq!(of(AMQPErrorKind::Soft(soft)), Harm::Message);
        }
        let hard = AMQPErrorKind::Hard(AMQPHardError::CONNECTIONFORCED);
        assert_eq!(of(hard), Harm::Connection);
    }

    #[test]
    fn what_an_operator_can_mend_meanwhile_costs_an_attempt() {
        for soft in [
            AMQPSoftError::NOTFOUND,
            AMQPSoftError::ACCESSREFUSED,
            AMQPSoftError::RESOURCELOCKED,
        ] {
            assert_eq!(of(AMQPErrorKind::Soft(soft)), Harm::Attempt);
        }
    }

    #[test]
    fn a_closed_channel_is_no_lost_connection() {
        let closed: Error = ErrorKind::ChannelsLimitReached.into();
        assert_eq!(harm(&closed, true), Harm::Attempt);
        assert_eq!(harm(&closed, false), Harm::Connection);
        let reset: Error = std::io::Error::from(std::io::ErrorKind::ConnectionReset).into();
        assert_eq!(harm(&reset, true), Harm::Connection);
    }
}
