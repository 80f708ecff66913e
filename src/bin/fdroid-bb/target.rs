//! The master that takes submitted builds.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use fdroid_bb::config::Submit;
use fdroid_bb::pipeline::{Master, Pipeline};
use fdroid_bb::submit::{Connection, SubmitError, password};
use fdroid_bb::text::shown;

use crate::Exit;

/// Where a master lays down its password if the description does not say, as F-Droid's own does.
const PASSWORD_FILE: &str = "/run/fdroid-bb/passwd";

/// Why nothing is submitted: a message, a remedy, and how the command ends.
pub struct Stop(pub String, pub String, pub Exit);

impl Stop {
    pub fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self(message.into(), help.into(), Exit::Invalid)
    }
}

/// Who submits, where, and the file with the password.
pub struct Target<'p> {
    pub name: &'p str,
    pub address: SocketAddr,
    master: &'p Master,
    user: &'p str,
    password_file: PathBuf,
}

impl<'p> Target<'p> {
    /// The master of this name or, without one, the only one that takes builds.
    pub fn of(
        pipeline: &'p Pipeline,
        name: Option<&str>,
        password_file: Option<&Path>,
    ) -> Result<Self, Stop> {
        let masters: Vec<(&str, &Master, &Submit)> = pipeline
            .masters
            .iter()
            .filter_map(|(name, master)| {
                Some((name.as_str(), master, master.settings.submit.as_ref()?))
            })
            .filter(|(found, ..)| name.is_none_or(|wanted| wanted == *found))
            .collect();
        let [(name, master, submit)] = masters.as_slice() else {
            let message = match name {
                Some(name) => format!("there is no master `{}` with a `submit`", shown(name)),
                None => format!("{} masters have a `submit`", masters.len()),
            };
            return Err(Stop::new(message, "name one that has it with `--master NAME`"));
        };
        let described = submit.password_file.as_ref().map(|file| PathBuf::from(file.as_str()));
        let file = password_file.map(Path::to_owned).or(described);
        Ok(Self {
            name,
            address: submit.listen.addr(),
            master,
            user: submit.user.as_str(),
            password_file: file.unwrap_or_else(|| PathBuf::from(PASSWORD_FILE)),
        })
    }

    /// Connects, and logs in; within: why the master does not let it.
    pub fn connect(&self) -> Result<Result<Connection, SubmitError>, Stop> {
        let file = &self.password_file;
        let password = password::read(file).map_err(|error| {
            let message = format!("there is no password in `{}`: {error}", file.display());
            let help = "start the master, which makes it, or give `--password-file FILE`";
            Stop(message, help.to_owned(), Exit::Failed)
        })?;
        Ok(Connection::open(self.address, self.user, &password))
    }

    /// What to say when it does not do what it is asked; `otherwise` is the remedy where none is
    /// known.
    pub fn failed(&self, error: &SubmitError, otherwise: &str) -> Stop {
        let help = match error {
            SubmitError::Login => "the master that listens there made another password, or none",
            SubmitError::Io(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "start the master, or look at its `submit.listen`"
            }
            _ => otherwise,
        };
        Stop(format!("{}: {error}", self.address), help.to_owned(), Exit::Failed)
    }

    /// A page of it.
    pub fn page(&self, path: &str) -> String {
        format!("{}{path}", self.master.settings.url.url())
    }
}
