//! Whether a step runs, and how often, in `fdroid-bb.toml`.

use schemars::JsonSchema;
use serde::Deserialize;

use super::scalars::Scalar;
use super::values::{Duration, Name};

/// How a command that fails is run again.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Retry {
    /// How many more times it is run at most. Each time it may take as long as `timeout` says.
    #[schemars(range(min = 1, max = 10))]
    pub times: u8,
    /// How long to wait before it is run the second time. Each further pause is twice as long.
    pub pause: Duration,
}

/// Something that is true of a build or not.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Condition {
    /// A property of the builder. True where a build has it, and it is not empty.
    pub property: Name,
    /// True only where it has this value.
    pub is: Option<Scalar>,
}

/// A property of a change: its name, for any value that is not empty, or also its value.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ChangeProperty {
    /// With any value.
    Any(Name),
    /// With this value.
    Is(Condition),
}

impl ChangeProperty {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        match self {
            Self::Any(name) => name,
            Self::Is(condition) => &condition.property,
        }
    }

    /// The value it must have, as those who submit changes write it.
    #[must_use]
    pub fn value(&self) -> Option<String> {
        match self {
            Self::Any(_) => None,
            Self::Is(condition) => condition.is.as_ref().map(Scalar::to_string),
        }
    }
}
