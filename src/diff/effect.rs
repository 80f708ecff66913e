//! What a difference does to a master that runs and is told to load its configuration anew, as
//! Buildbot 4.3 does it.

use serde::Serialize;

use super::{Field, What};
use crate::model::Kind;

/// What a reconfiguration does with an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// Nothing: no master has it.
    Nothing,
    /// It starts.
    Starts,
    /// It stops. What it was doing is done again elsewhere or not at all.
    Stops,
    /// It takes its new values while it runs.
    Adopts,
    /// Another takes its place.
    IsReplaced,
    /// It goes on as it is until it is idle.
    WaitsUntilIdle,
    /// It stays as it is until the master is started again.
    Restart,
}

/// Settings that are read when a master starts (`www.service.setupSite`) or a worker is changed (the
/// port in `protocols`, `worker.base`), or may not change while it runs (`db.connector`, after all
/// else was changed).
fn needs_restart(setting: &str, way: &str) -> bool {
    matches!(setting, "db" | "protocols")
        || (setting == "www" && (way.starts_with("plugins") || way == "ws_ping_interval"))
}

impl Effect {
    /// The effect of a change on an object named `name`; `fields` are those of a changed one.
    #[must_use]
    pub fn of(kind: Kind, name: &str, what: &What, fields: &[Field]) -> Self {
        let has_other_class = fields.iter().any(|field| field.way.is_empty());
        match (kind, what) {
            (Kind::App | Kind::Key, _) => Self::Nothing,
            // Python keeps what it has imported.
            (Kind::Runtime, _) => Self::Restart,
            (Kind::Extra, _) => Self::Adopts,
            (Kind::Setting, What::Changed) => {
                let restart = fields.iter().any(|field| needs_restart(name, &field.way));
                if restart { Self::Restart } else { Self::Adopts }
            }
            (_, What::Added) => Self::Starts,
            (_, What::Removed) => Self::Stops,
            // Buildbot knows everything by its name.
            (_, What::Renamed { .. }) => Self::IsReplaced,
            (Kind::Lock | Kind::Builder, What::Changed) => Self::WaitsUntilIdle,
            (_, What::Changed) if has_other_class => Self::IsReplaced,
            (Kind::Worker, What::Changed) => Self::WaitsUntilIdle,
            (
                Kind::Scheduler | Kind::ChangeSource | Kind::Service | Kind::Poller,
                What::Changed,
            ) => Self::Adopts,
        }
    }

    /// The effect in words, of a `kind`.
    #[must_use]
    pub fn words(self, kind: Kind) -> String {
        match self {
            Self::Nothing => "no effect".to_owned(),
            Self::Starts => format!("this {kind} starts"),
            Self::Stops => match kind {
                Kind::Builder => "its requests wait for a builder of this name".to_owned(),
                Kind::Worker => "this worker stops; its build is done again elsewhere".to_owned(),
                _ => format!("this {kind} stops"),
            },
            Self::Adopts => format!("this {kind} takes it over at once"),
            Self::IsReplaced => format!("this {kind} is replaced"),
            Self::WaitsUntilIdle => match kind {
                Kind::Worker => "this worker waits until idle".to_owned(),
                _ => "applies to the next build".to_owned(),
            },
            Self::Restart => "restart needed".to_owned(),
        }
    }
}
