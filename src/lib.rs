//! The compiler of F-Droid's Buildbot configuration. ARCHITECTURE.md draws the way of the data:
//! `load → parse → resolve → lower → render → write`, put in a row by [`compile`].

pub mod apply;
pub mod buildbot;
pub mod cache;
pub mod compile;
pub mod config;
pub mod diff;
pub mod fdroid;
pub mod finding;
pub mod graph;
pub mod load;
pub mod lower;
pub mod model;
pub mod parse;
pub mod pattern;
pub mod pipeline;
pub mod polls;
pub mod process;
pub mod publish;
pub mod remote;
pub mod render;
pub mod resolve;
pub mod shadow;
pub mod submit;
pub mod template;
pub mod text;
pub mod update;
pub mod verified;
pub mod write;
