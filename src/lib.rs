//! The compiler of F-Droid's Buildbot configuration. ARCHITECTURE.md draws the way of the data.

pub mod fdroid;
pub mod finding;
