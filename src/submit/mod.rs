//! Submitting changes to a running master, as `buildbot sendchange` does, but many over one
//! connection, and none for what is queued, running or built.

mod banana;
mod connection;
pub mod examples;
pub mod known;
pub mod last_build;
pub mod merged;
pub mod password;
pub mod pending;

pub use connection::{Change, Connection, SubmitError};
