//! The arguments.

use std::io;
use std::path::PathBuf;

use crate::reports::Report;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use fdroid_bb::fdroid::AppId;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const BEGIN: &str = "\
Begin with:
  fdroid-bb init                                   write a small fdroid-bb.toml
  fdroid-bb check --fdroiddata ~/fdroiddata        see what it makes of the metadata
  fdroid-bb generate --fdroiddata ~/fdroiddata --out generated

";

const EXIT_CODES: &str = "\
Exit codes:
  0   all is well; there may be warnings
  1   the input is invalid; with --strict, a finding on any app counts too
  2   what was asked for is out of date: `generate --check`, `apply PLAN`
  3   with --deny-warnings: there are warnings
  4   the guard stopped `generate`: too many pollers would vanish
  5   a master did not do what it was asked: applying the output or submitting builds failed
  6   some of it was refused, the rest is done: `publish`, `sign`
  7   there was nothing to publish: `publish`
  8   nothing was published, and some of it was refused: `publish`
  64  the command line is wrong";

/// Compiles F-Droid's app metadata and a pipeline description into Buildbot masters.
///
/// fdroid-bb reads fdroiddata (one YAML file an app) and fdroid-bb.toml, checks both, and writes
/// a master.cfg for each Buildbot master, with a poller for each active app's source.
#[derive(Parser)]
#[command(name = "fdroid-bb", version, styles = STYLES, after_help = format!("{BEGIN}{EXIT_CODES}"), max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub inputs: Inputs,
}

/// What every command reads.
#[derive(Args)]
pub struct Inputs {
    /// The pipeline description
    #[arg(long, global = true, value_name = "FILE", default_value = "fdroid-bb.toml")]
    pub config: PathBuf,
    /// A file on top of the description: what differs on this machine, such as one for trials
    #[arg(long, global = true, value_name = "FILE")]
    pub overlay: Option<PathBuf>,
    /// The root of fdroiddata: a checkout, a bare repository or a plain folder
    #[arg(long, global = true, value_name = "PATH", default_value = ".")]
    pub fdroiddata: PathBuf,
    /// Read fdroiddata at this commit, branch or tag instead of the files as they are
    #[arg(long, global = true, value_name = "REV")]
    pub rev: Option<String>,
}

/// How strictly findings are taken.
#[derive(Args)]
pub struct Strictness {
    /// Fail (1) if there is a finding on any app, instead of leaving out what is broken
    #[arg(long)]
    pub strict: bool,
    /// Fail (3) if there are warnings
    #[arg(long)]
    pub deny_warnings: bool,
}

#[derive(Subcommand)]
pub enum Command {
    /// Write the configuration of every master
    #[command(after_help = EXIT_CODES)]
    Generate {
        /// The folder to write to; only its subfolder `masters` is touched
        #[arg(long, value_name = "DIR", default_value = "generated")]
        out: PathBuf,
        /// Write nothing; exit with 2 if the output is not up to date
        #[arg(long)]
        check: bool,
        /// Write even if more pollers vanish than `guard.vanishing-percent` allows
        #[arg(long)]
        accept_vanishing: bool,
        #[command(flatten)]
        strictness: Strictness,
        /// How to say what happened
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Say what differs between two states, object by object, why, and what it does to a master
    ///
    /// OLD and NEW are revisions of fdroiddata, folders of it, or folders that `generate` has
    /// written.
    #[command(after_help = EXIT_CODES)]
    Diff {
        /// What was
        #[arg(value_name = "OLD")]
        old: String,
        /// What is
        #[arg(value_name = "NEW")]
        new: String,
        #[command(flatten)]
        shown: Shown,
    },
    /// Say what `apply` would do
    #[command(after_help = EXIT_CODES)]
    Plan {
        /// The folder of the masters' configurations
        #[arg(long, value_name = "DIR", default_value = "generated")]
        out: PathBuf,
        /// Write the plan to FILE, for `apply FILE`
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Plan it even if more pollers vanish than `guard.vanishing-percent` allows
        #[arg(long)]
        accept_vanishing: bool,
        #[command(flatten)]
        shown: Shown,
    },
    /// Bring the configuration to the masters that run, or leave all as it was
    ///
    /// Compiles, has `buildbot checkconfig` check the result, exchanges it with what is there,
    /// tells the masters, and waits until each says that it runs it. If one does not, the old
    /// configuration is put back. What ran before is kept: `fdroid-bb rollback`.
    #[command(after_help = EXIT_CODES)]
    Apply {
        /// Apply just what this plan says, and refuse if anything has moved since
        #[arg(value_name = "PLAN")]
        plan: Option<PathBuf>,
        /// Apply even if more pollers vanish than `guard.vanishing-percent` allows
        #[arg(long)]
        accept_vanishing: bool,
        /// Apply although somebody has rolled back
        #[arg(long)]
        release: bool,
        /// Write metrics for Prometheus to FILE
        #[arg(long, value_name = "FILE")]
        metrics: Option<PathBuf>,
        #[command(flatten)]
        masters: Masters,
        #[command(flatten)]
        shown: Shown,
    },
    /// Follow fdroiddata: fetch it, and apply what has changed
    ///
    /// `--fdroiddata` is a bare clone; its `origin` is fetched. Ends with SIGTERM; SIGHUP makes it
    /// look at once.
    #[command(after_help = EXIT_CODES)]
    Watch {
        /// The time between two fetches
        #[arg(long, value_name = "SECONDS", default_value = "60")]
        interval: u64,
        /// How long there must be no further commit
        #[arg(long, value_name = "SECONDS", default_value = "5")]
        quiet_time: u64,
        /// Write metrics for Prometheus to FILE
        #[arg(long, value_name = "FILE")]
        metrics: Option<PathBuf>,
        #[command(flatten)]
        masters: Masters,
    },
    /// Return the masters to an earlier configuration
    ///
    /// Nothing then replaces it by itself, until somebody runs `apply --release`.
    #[command(after_help = EXIT_CODES)]
    Rollback {
        /// Its number; without it, the one before
        #[arg(value_name = "NUMBER")]
        number: Option<u64>,
        /// Only list what there is to return to
        #[arg(long)]
        list: bool,
        #[command(flatten)]
        masters: Masters,
    },
    /// Say what is wrong with the metadata and the pipeline description
    #[command(after_help = EXIT_CODES)]
    Check {
        #[command(flatten)]
        strictness: Strictness,
        /// Also write a report: `codequality=FILE` for GitLab, `sarif=FILE` or `junit=FILE`;
        /// can be given several times
        #[arg(long, value_name = "KIND=FILE")]
        report: Vec<Report>,
        /// Findings that are known and do not count
        #[arg(long, value_name = "FILE")]
        baseline: Option<PathBuf>,
        /// Write the findings of today into the baseline
        #[arg(long, requires = "baseline")]
        update_baseline: bool,
        /// How to say it
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// List the apps: whether each is active, why not, and what polls it
    #[command(after_help = EXIT_CODES)]
    Apps {
        #[command(flatten)]
        strictness: Strictness,
        /// A table for people, or one JSON object a line with fdroidserver's field names
        #[arg(long, value_enum, default_value_t = Listing::Table)]
        format: Listing,
    },
    /// Say why an app is polled or not, when, and what a change of it starts; what a finding means;
    /// or all that the description says of one thing
    #[command(after_help = EXIT_CODES)]
    Explain {
        /// An application id, a finding's code such as `repo-refused`, or a kind of thing:
        /// `builder`, `lock`, `master`, `reporter`, `scheduler` or `worker`
        #[arg(value_name = "APPID|CODE|KIND")]
        what: String,
        /// The thing of that kind: each line of it, with the file and line that it comes from
        #[arg(value_name = "NAME")]
        name: Option<String>,
        /// The tag to try; else `v1.2`
        #[arg(long)]
        tag: Option<String>,
        /// The folder that holds the masters' base directories: says what is paused there
        #[arg(long, value_name = "DIR", value_parser = absolute)]
        basedirs: Option<PathBuf>,
        /// How to say it
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Draw the pipelines
    #[command(after_help = EXIT_CODES)]
    Graph {
        /// How to draw them
        #[arg(long, value_enum, default_value_t = Drawing::Mermaid)]
        format: Drawing,
    },
    /// Say how often hosts are asked, and what the workers can do
    #[command(after_help = EXIT_CODES)]
    Capacity {
        /// How to say it
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// Submit the builds that are pending to a running master
    ///
    /// Pending are the builds of an app's current version that are neither disabled nor found in
    /// --repository. What is queued or running is left out, and with --all or --merged also what
    /// has failed, until its metadata or what builds it has changed. All go over one connection, as `buildbot sendchange` would send each. The
    /// master's address and user are those of its `submit` in the pipeline description; its
    /// password is read from the file that the master writes.
    #[command(after_help = EXIT_CODES)]
    Schedule(Scheduled),
    /// Say whether the master that takes builds can build, and what is missing
    ///
    /// Asks it over its `submit` port. With --build, has it build up to three apps, the simplest of
    /// fdroiddata's: one by gradle, one with a srclib, and a reproducible one; and says where each
    /// failed, and why.
    #[command(after_help = EXIT_CODES)]
    Doctor(Doctor),
    /// Publish what was built: sign it with fdroidserver, app by app
    ///
    /// Run it in the repository's folder, where `fdroid` runs. What cannot be published is moved to
    /// `../refused/APPID_VERSIONCODE`, with the reason in a file, and holds up nothing else. To try
    /// one again, move it back.
    #[command(after_help = EXIT_CODES)]
    Publish {
        /// What was built: a folder with a folder `APPID_VERSIONCODE` for each version
        #[arg(long, value_name = "DIR", default_value = crate::publish::BUILT)]
        built: PathBuf,
        /// Sign nothing: put what is to be signed into `../outbox`, and take what was signed out of
        /// `../inbox`
        #[arg(long)]
        elsewhere: bool,
    },
    /// Sign what another machine has put into its outbox, for its inbox: apps, and the index
    ///
    /// Run it on the machine that has the keys, in its repository's folder, where `fdroid` runs. It
    /// needs no network.
    #[command(after_help = EXIT_CODES)]
    Sign {
        /// What the other machine's `publish --elsewhere` and `send-index` gave
        #[arg(value_name = "OUTBOX")]
        outbox: PathBuf,
        /// Where to put what goes back to it
        #[arg(value_name = "INBOX")]
        inbox: PathBuf,
    },
    /// Put the unsigned index into `../outbox`, to be signed on another machine
    ///
    /// Run it in the repository's folder, after `fdroid update --nosign`.
    #[command(after_help = EXIT_CODES)]
    SendIndex,
    /// Take the signed index out of `../inbox`, and check that it may be deployed
    ///
    /// Run it in the repository's folder, before `fdroid deploy`. It fails unless the repository has an
    /// index that is signed, with the key whose certificate is `repo_pubkey` in config.yml, and the
    /// files that it names. What came back and is not what was sent is moved to `../refused/index`,
    /// with the reason in a file.
    #[command(after_help = EXIT_CODES)]
    TakeIndex,
    /// Print what an APK says it is: its package and its version code
    ///
    /// It runs with limits on time and memory, and refuses an APK that others may read otherwise.
    #[command(after_help = EXIT_CODES)]
    Apk {
        /// Print a sum of all that it holds but its signature
        #[arg(long)]
        content: bool,
        /// Print which files differ from those of another APK, but for the signatures
        #[arg(long, value_name = "OTHER", conflicts_with = "content")]
        against: Option<PathBuf>,
        /// The APK
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Compare what a shadow built and found with what f-droid.org published
    ///
    /// APKs are compared by the names and contents of their files, but for signatures; the published
    /// ones are those of --published, or the developer's that a build has fetched. Ends with 0 whatever
    /// differs.
    #[command(after_help = EXIT_CODES)]
    ShadowReport(Compared),
    /// Let no more builds start: of one app, of one builder, or any
    ///
    /// What runs goes on, what is asked for waits, also over a restart of the master. Without an app,
    /// a builder or --all, says what is paused.
    #[command(after_help = EXIT_CODES)]
    Pause {
        #[command(flatten)]
        what: Paused,
        /// Why, for those who miss a build
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
    },
    /// Let builds start again that were paused
    #[command(after_help = EXIT_CODES)]
    Resume {
        #[command(flatten)]
        what: Paused,
    },
    /// Add the report of one verification to `verified.json`, which has those of all
    ///
    /// The report is `APPID_CODE.apk.json`, as `fdroid verify --output-json` writes it.
    #[command(after_help = EXIT_CODES)]
    Verified {
        /// The app's version
        #[arg(value_name = "APPID:CODE", value_parser = version)]
        version: (AppId, u64),
        /// The folder of the reports
        #[arg(long, value_name = "DIR", default_value = "unsigned")]
        reports: PathBuf,
    },
    /// Bring what `fdroid checkupdates` found in one app to fdroiddata, or ask for a merge
    ///
    /// PATCH may come from a machine that ran code of strangers: it is taken only if it changes this
    /// app's file alone, and there just what checkupdates may change. `--fdroiddata` is a bare clone,
    /// whose `origin` is fetched, and gets the commit if there is no --fork. The commit is made by
    /// `GIT_COMMITTER_NAME` and `GIT_COMMITTER_EMAIL`; the merge request refers to `CI_JOB_URL`.
    #[command(after_help = EXIT_CODES)]
    DeliverUpdate(Delivered),
    /// Print the JSON schema of fdroid-bb.toml, for editors
    #[command(after_help = EXIT_CODES)]
    Schema,
    /// Write a small fdroid-bb.toml to begin with, where `--config` says
    #[command(after_help = EXIT_CODES)]
    Init,
    /// Write the manual pages, one for each command
    #[command(after_help = EXIT_CODES)]
    Man {
        /// The folder to write to
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Print completions for a shell
    #[command(after_help = EXIT_CODES)]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// A version of an app.
fn version(text: &str) -> Result<(AppId, u64), &'static str> {
    let (app, code) =
        text.split_once(':').ok_or("write an application id, `:` and a version code")?;
    let app = AppId::new(app).ok_or("this is no application id")?;
    Ok((app, code.parse().map_err(|_| "this is no version code")?))
}

/// A folder that means the same when a command is run elsewhere.
fn absolute(path: &str) -> io::Result<PathBuf> {
    std::path::absolute(path)
}

/// A program; one that is looked for in the `PATH` stays a name.
fn program(text: &str) -> io::Result<PathBuf> {
    if text.contains('/') { std::path::absolute(text) } else { Ok(PathBuf::from(text)) }
}

/// The masters on this machine.
#[derive(Args)]
pub struct Masters {
    /// The folder of the masters' configurations
    #[arg(long, value_name = "DIR", default_value = "generated")]
    pub out: PathBuf,
    /// The folder that holds the masters' base directories, each with its master's name; a master
    /// without one runs on another machine
    #[arg(long, value_name = "DIR", default_value = ".", value_parser = absolute)]
    pub basedirs: PathBuf,
    /// Start a master again where nothing less will do; one that runs in the foreground is only
    /// stopped, for its service manager to start it
    #[arg(long)]
    pub allow_restart: bool,
    /// The program `buildbot`
    #[arg(long, value_name = "PROGRAM", default_value = "buildbot", value_parser = program)]
    pub buildbot: PathBuf,
    /// How long a master may take; else 300, and one for each hundred pollers
    #[arg(long, value_name = "SECONDS")]
    pub patience: Option<u64>,
}

/// What is paused.
#[derive(Args)]
pub struct Paused {
    /// The builds of this app
    #[arg(long, value_name = "APPID", conflicts_with_all = ["builder", "all"])]
    pub app: Option<String>,
    /// The builds of this builder
    #[arg(long, value_name = "NAME", conflicts_with = "all")]
    pub builder: Option<String>,
    /// All builds of all masters
    #[arg(long)]
    pub all: bool,
    /// The folder that holds the masters' base directories, each with its master's name
    #[arg(long, value_name = "DIR", default_value = ".", value_parser = absolute)]
    pub basedirs: PathBuf,
}

/// What is delivered, and where.
#[derive(Args)]
pub struct Delivered {
    /// The application id
    #[arg(value_name = "APPID")]
    pub app: String,
    /// What `git diff --full-index` wrote; an empty file changes nothing
    #[arg(value_name = "PATCH")]
    pub patch: PathBuf,
    /// The bot's fork on GitLab; the app's branch there is replaced
    #[arg(long, value_name = "URL")]
    pub fork: Option<String>,
    /// Only say whether the patch would be delivered
    #[arg(long)]
    pub dry_run: bool,
}

/// What is submitted, and how.
#[derive(Args)]
pub struct Scheduled {
    #[command(flatten)]
    pub which: Which,
    /// What was built already: a folder with `unsigned`, `repo` and `archive`, beside `built`
    /// and `refused`
    #[arg(long, value_name = "DIR")]
    pub repository: Option<PathBuf>,
    /// Which schedulers take them: `build` or `verify` in F-Droid's description
    #[arg(long, value_name = "NAME", default_value = "build")]
    pub category: String,
    /// Mark them as one cycle through many apps, which other builds go before
    #[arg(long)]
    pub cycle: bool,
    /// The master, where several take submitted builds
    #[arg(long, value_name = "NAME")]
    pub master: Option<String>,
    /// Where the password is, if not where the description says
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Only say what would be submitted
    #[arg(long)]
    pub dry_run: bool,
    /// How to say what happened
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// What is tried.
#[derive(Args)]
pub struct Doctor {
    /// Have apps built
    #[arg(long)]
    pub build: bool,
    /// The version to build; can be given several times
    #[arg(long, value_name = "APPID:CODE", requires = "build", value_parser = version)]
    pub app: Vec<(AppId, u64)>,
    /// How long the builds may take, with their waiting
    #[arg(long, value_name = "SECONDS", default_value = "14400")]
    pub limit: u64,
    /// The master, where several take submitted builds
    #[arg(long, value_name = "NAME")]
    pub master: Option<String>,
    /// Where the password is, if not where the description says
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
}

/// What is compared with what was published.
#[derive(Args)]
pub struct Compared {
    /// The published index, `index-v2.json` of the repository
    #[arg(long, value_name = "FILE")]
    pub index: PathBuf,
    /// The published APKs: a folder, such as `repo` of a mirror
    #[arg(long, value_name = "DIR")]
    pub published: Option<PathBuf>,
    /// Also say what was published in so many days before the index was made, and is not built
    #[arg(long, value_name = "DAYS")]
    pub days: Option<u32>,
    /// What checkupdates found: a folder of `APPID.patch`, compared with `CurrentVersionCode` in
    /// --fdroiddata
    #[arg(long, value_name = "DIR")]
    pub updates: Option<PathBuf>,
    /// How to say it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// What was built: folders with a folder `APPID_VERSIONCODE` for each version
    #[arg(value_name = "BUILT", required = true)]
    pub built: Vec<PathBuf>,
}

/// How a difference is shown.
#[derive(Args)]
pub struct Shown {
    /// How to say it
    #[arg(long, value_enum, default_value_t = DiffFormat::Text)]
    pub format: DiffFormat,
    /// Say no more than this; the rest is counted
    #[arg(long, value_name = "BYTES")]
    pub limit: Option<usize>,
}

/// How pipelines are drawn.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Drawing {
    /// As GitLab and GitHub render it
    Mermaid,
    /// As Graphviz reads it: `| dot -Tsvg` makes a picture
    Dot,
}

/// How a difference is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DiffFormat {
    /// For people
    Text,
    /// For a merge request
    Markdown,
    /// One JSON document
    Json,
}

/// Which apps are meant.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct Which {
    /// Application ids
    #[arg(value_name = "APPID")]
    pub apps: Vec<String>,
    /// All apps
    #[arg(long)]
    pub all: bool,
    /// The apps in a file, one id a line; `-` is stdin
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
    /// The builds that commits have added or enabled since the last time, whether or not they are
    /// of the current version; the first time, none
    #[arg(long)]
    pub merged: bool,
}

/// How results are said.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Text,
    /// One JSON document
    Json,
}

/// How apps are listed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Listing {
    /// For people
    Table,
    /// One JSON object a line
    Json,
}
