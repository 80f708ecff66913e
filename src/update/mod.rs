//! New versions of apps, from the patch that a machine nobody trusts has left to a commit, pushed
//! with a token that this machine never had: the patch is judged, and made anew.

pub mod check;
mod deliver;
mod normal;
mod patch;
mod title;

pub use check::{Update, check};
pub use deliver::{Delivery, Done, Failed, Identity};
pub use patch::{LONGEST, apply};

/// Why a patch is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadPatch(pub String);

impl BadPatch {
    fn new<T>(message: impl Into<String>) -> Result<T, Self> {
        Err(Self(message.into()))
    }
}
