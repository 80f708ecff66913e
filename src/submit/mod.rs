//! Submitting changes to a running master, as `buildbot sendchange` does, but many over one
//! connection.

mod banana;
mod connection;
pub mod password;
pub mod pending;

pub use connection::{Change, Connection, Refused};
