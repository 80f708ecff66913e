//! What the inputs compile to, beside the set that is there: for `plan`, `apply` and `watch`.

use std::io::{self, Write};
use std::path::Path;

use fdroid_bb::compile;
use fdroid_bb::diff::{ByName, Causes, Diff};
use fdroid_bb::finding::{Finding, Severity};
use fdroid_bb::model::Model;
use fdroid_bb::write::{OutputSet, SET_DIR};
use serde_json::{Value, json};

use crate::Exit;
use crate::cli::Inputs;
use crate::generate::{output_set, vanishing};
use crate::input::{self, Read};
use crate::report;

/// A set that could take the place of the one on disk.
pub struct Compiled {
    pub read: Read,
    /// The set on disk.
    pub old: OutputSet,
    /// The new one.
    pub set: OutputSet,
    pub provenance: Value,
    /// What the new one describes.
    pub model: Model,
    pub diff: Diff,
}

/// Why there is no new set. It was said already.
pub struct Stopped(pub Exit);

/// Compiles, and compares with the set in `out`.
///
/// # Errors
/// When the input is invalid, or more pollers would vanish than the guard allows.
pub fn compile(
    inputs: &Inputs,
    out: &Path,
    accept_vanishing: bool,
    err: &mut dyn Write,
) -> io::Result<Result<Compiled, Stopped>> {
    let read = match input::read(inputs) {
        Ok(read) => read,
        Err(findings) => {
            report::findings(err, &findings)?;
            return Ok(Err(Stopped(Exit::Invalid)));
        }
    };
    let errors: Vec<Finding> =
        read.findings.iter().filter(|f| f.severity == Severity::Error).cloned().collect();
    report::findings(err, &errors)?;
    let stop = |err: &mut dyn Write, message: String, help: &str, exit: Exit| {
        writeln!(err, "error: {message}\nhelp: {help}")?;
        Ok(Err(Stopped(exit)))
    };
    let old = match OutputSet::load(&out.join(SET_DIR)) {
        Ok(old) => old,
        Err(error) => return stop(err, error.to_string(), &error.help(), Exit::Invalid),
    };
    let pipeline = &read.description.pipeline;
    let (new, kept) = match compile::following_output(pipeline, &read.apps, &old) {
        Ok(new) => new,
        Err(error) => {
            let message = format!("a template of fdroid-bb is broken: {error}");
            return stop(
                err,
                message,
                "this is a fault of fdroid-bb; please report it",
                Exit::Invalid,
            );
        }
    };
    for app in &kept {
        writeln!(err, "warning: the metadata of `{app}` is broken: it keeps the poller it has")?;
    }
    if let Some(loss) = vanishing(out, &new, pipeline.guard.vanishing_percent)
        && !accept_vanishing
    {
        let help = "see that `--fdroiddata` and `--rev` are right; if so, run again with \
                    `--accept-vanishing`";
        return stop(err, loss, help, Exit::Guard);
    }
    let set = match output_set(new) {
        Ok(set) => set,
        Err(error) => return stop(err, error.to_string(), &error.help(), Exit::Invalid),
    };
    let (before, model) = (Model::read(&old), Model::read(&set));
    let causes =
        Causes { places: Some(&pipeline.places), old: None, new: Some(ByName::new(&read.apps)) };
    let diff = Diff::new((&old, &before), (&set, &model), &causes);
    let provenance = json!({
        "fdroid-bb": env!("CARGO_PKG_VERSION"),
        "fdroiddata": read.tree.commit,
    });
    Ok(Ok(Compiled { read, old, set, provenance, model, diff }))
}
