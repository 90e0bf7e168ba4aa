//! What agents say of themselves.

mod heartbeat;
