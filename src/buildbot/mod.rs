//! Buildbot's vocabulary, and the Python its configuration is written in.

mod master;
pub mod python;

pub use master::{Master, Object};
