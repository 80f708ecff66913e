//! F-Droid's vocabulary: what a file of fdroiddata says, with the values fdroidserver gives it.

pub mod app;
pub mod app_id;
pub mod fast;
pub mod field;
pub mod fields;
pub mod gaps;
pub mod line;
pub mod outline;
pub mod problem;
pub mod scalar;
pub mod srclib;
pub mod text;
pub mod timestamp;
pub mod update_check;
pub mod yaml;

pub use app::{App, Build, Marks};
pub use app_id::AppId;
pub use srclib::Srclib;
pub use update_check::UpdateCheckMode;
