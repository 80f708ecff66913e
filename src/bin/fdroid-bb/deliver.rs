//! The command `deliver-update`.

use std::env;
use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::Path;

use fdroid_bb::fdroid::AppId;
use fdroid_bb::text::shown;
use fdroid_bb::update::{Delivery, Done, Failed, Identity, LONGEST};
use fdroid_bb::{compile, load};
use url::Url;

use crate::Exit;
use crate::cli::{Delivered, Inputs};
use crate::report;

/// Delivers the patch of one app.
pub fn deliver(
    inputs: &Inputs,
    what: &Delivered,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> io::Result<Exit> {
    let Delivered { app, patch, fork, dry_run } = what;
    let mut stop = |message: String, help: &str, exit: Exit| {
        writeln!(err, "error: {message}\nhelp: {help}").map(|()| exit)
    };
    let Some(id) = AppId::new(app) else {
        let message = format!("`{}` is no application id", shown(app));
        return stop(message, "give the name of its file without `.yml`", Exit::Usage);
    };
    let variable = |name| env::var(name).ok().filter(|text| !text.is_empty());
    let names = ["GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"].map(variable);
    let [Some(name), Some(email)] = names else {
        let help = "set `GIT_COMMITTER_NAME` and `GIT_COMMITTER_EMAIL`";
        return stop("it is not known whose commit it will be".to_owned(), help, Exit::Invalid);
    };
    let patch = match read(patch) {
        Ok(patch) => patch,
        Err(error) => {
            let message = format!("`{}` cannot be read: {error}", patch.display());
            return stop(message, "give the file that `git diff --output` wrote", Exit::Invalid);
        }
    };
    let description = match compile::description(&inputs.config, inputs.overlay.as_deref()) {
        Ok(description) => description,
        Err(findings) => {
            report::findings(err, &findings)?;
            return Ok(Exit::Invalid);
        }
    };
    match load::is_bare(&inputs.fdroiddata) {
        Ok(true) => {}
        Ok(false) => {
            let message = format!("`{}` is no bare repository", inputs.fdroiddata.display());
            return stop(message, "make one with `git clone --bare`", Exit::Invalid);
        }
        Err(finding) => {
            report::findings(err, &[finding])?;
            return Ok(Exit::Invalid);
        }
    }
    let page = variable("CI_JOB_URL").and_then(|text| Url::parse(&text).ok());
    let delivery = Delivery {
        app: &id,
        repository: &inputs.fdroiddata,
        branch: description.pipeline.fdroiddata.branch.as_str(),
        fork: fork.as_deref(),
        page: page.as_ref(),
        identity: &Identity { name, email },
        dry_run: *dry_run,
    };
    match delivery.deliver(&patch) {
        Ok(done) => say(&id, &done, fork.is_some(), out).map(|()| Exit::Clean),
        Err(Failed::Refused(why)) => {
            let help = "look at the patch: either the build that left it was tampered with, or \
                        somebody has changed the metadata meanwhile and the next check will do";
            stop(format!("the patch of `{id}` is refused: {why}"), help, Exit::Invalid)
        }
        Err(Failed::Git(why)) => {
            let help = "see whether the server answers and takes pushes, then run it again";
            stop(format!("`{id}` was not delivered: {why}"), help, Exit::Failed)
        }
    }
}

/// The patch, or a little more than may be read.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut patch = Vec::new();
    File::open(path)?.take(LONGEST as u64 + 1).read_to_end(&mut patch)?;
    Ok(patch)
}

fn say(id: &AppId, done: &Done, is_fork: bool, out: &mut dyn Write) -> io::Result<()> {
    match done {
        Done::Nothing => writeln!(out, "`{id}`: nothing new"),
        Done::Judged(title) => writeln!(out, "`{id}`: {title}: it would be delivered"),
        Done::Waiting => writeln!(out, "`{id}`: this waits in the fork already"),
        Done::Edited => {
            writeln!(
                out,
                "`{id}`: left alone, for its branch in the fork has other people's commits"
            )
        }
        Done::Pushed(title, said) => {
            let how = if is_fork { "a merge is asked for" } else { "pushed to fdroiddata" };
            writeln!(out, "`{id}`: {title}: {how}")?;
            if said.is_empty() { Ok(()) } else { writeln!(out, "{said}") }
        }
    }
}
