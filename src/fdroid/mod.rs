//! F-Droid's vocabulary: what a file of fdroiddata says, with the values fdroidserver gives it.

pub mod app;
pub mod app_id;

pub use app::{App, Build, Marks};
pub use app_id::AppId;
