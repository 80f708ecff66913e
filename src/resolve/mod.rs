//! The stage `resolve`: names become what they refer to. [`names`] does so for the pipeline
//! description, [`apps`] for the sources of apps.

pub mod alternatives;
pub mod apps;
mod braces;
mod checkouts;
mod context;
mod failures;
mod forms;
mod homes;
mod machines;
pub mod names;
mod output;
mod properties;
mod reporters;
mod running;
mod shell;
mod step_name;
mod steps;
mod templates;
mod web;

pub(crate) use properties::{PACKAGE_NAME, SENT_PROPERTIES};
