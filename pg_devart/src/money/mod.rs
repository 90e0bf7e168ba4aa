//! Money: what services cost and who spent it.

mod charge;
