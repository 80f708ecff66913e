//! Runs the real program and tells all that it said.
#![allow(dead_code, reason = "each test file uses its part")]

pub mod state;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// The checkout of the project.
pub const PROJECT: &str = env!("CARGO_MANIFEST_DIR");

/// A run of the program, or what came of it.
pub struct Run {
    /// The exit code.
    pub code: i32,
    /// What it printed for pipes.
    pub stdout: String,
    /// What it printed for people.
    pub stderr: String,
}

impl Run {
    /// Runs `fdroid-bb` in `folder`.
    pub fn new(folder: &Path, arguments: &[&str]) -> Self {
        Self::of(command(folder).args(arguments))
    }

    /// Runs a command that was made by [`command`].
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// All that a person sees, but for how long it took.
    pub fn seen(&self) -> String {
        let mut out = format!("exit {}\n", self.code);
        for (name, text) in [("stderr", &self.stderr), ("stdout", &self.stdout)] {
            if text.is_empty() {
                continue;
            }
            let _ = writeln!(out, "--- {name} ---");
            for line in text.lines().filter(|line| !line.starts_with("took ")) {
                let _ = writeln!(out, "{}", line.trim_end());
            }
        }
        out
    }

    /// Asserts the exit code, and that nothing went wrong inside the program.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        assert_eq!(self.code, code, "{}", self.seen());
        self
    }
}

/// The program, to be run in `folder`.
pub fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fdroid-bb"));
    command.current_dir(folder).stdin(Stdio::null());
    for name in ["CLICOLOR_FORCE", "FORCE_COLOR", "GIT_DIR", "RUST_BACKTRACE"] {
        command.env_remove(name);
    }
    command
}

/// A description with one master and a poller for each app.
pub const DESCRIPTION: &str = r#"
[fdroiddata]
url = "https://git.example.org/fdroiddata.git"

[masters.main]
title = "Main"
url = "http://localhost:8010/"

[workers.local]
master = "main"
local = {}

[builders.look]
workers = ["local"]
properties.packageName = { type = "app-id" }
steps = [{ run = ["echo", "{packageName}"] }]

[schedulers.news]
on = "app-source"
builders = ["look"]
"#;

/// A folder with a description and a fdroiddata of its own.
pub struct Sandbox(TempDir);

impl Sandbox {
    /// One with apps of these ids.
    pub fn new(apps: &[&str]) -> Self {
        let sandbox = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(sandbox.path("fdroiddata/metadata")).unwrap();
        sandbox.put("fdroid-bb.toml", DESCRIPTION);
        for app in apps {
            sandbox.app(app, &["UpdateCheckMode: Tags"]);
        }
        sandbox
    }

    /// The path of a file in it.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    /// Writes a file.
    pub fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// The text of a file.
    pub fn get(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    /// Writes an app's file: a git repository, and the lines given.
    pub fn app(&self, id: &str, lines: &[&str]) {
        let text = format!(
            "RepoType: git\nRepo: https://git.example.org/{id}.git\n{}\n",
            lines.join("\n")
        );
        self.put(&format!("fdroiddata/metadata/{id}.yml"), text);
    }

    /// Runs `fdroid-bb COMMAND --fdroiddata fdroiddata …` in it.
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(&mut self.command(arguments))
    }

    /// The same, to be run with more settings.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(self.0.path());
        command.args(arguments);
        if !arguments.iter().any(|word| word.starts_with("--fdroiddata")) {
            command.args(["--fdroiddata", "fdroiddata"]);
        }
        command
    }

    /// Runs git in its fdroiddata.
    pub fn git(&self, arguments: &[&str]) -> String {
        git(&self.path("fdroiddata"), arguments)
    }

    /// Makes its fdroiddata a git repository, or commits what changed in it.
    pub fn commit(&self) {
        if !self.path("fdroiddata/.git").exists() {
            self.git(&["init", "-q", "-b", "master"]);
        }
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "change"]);
    }

    /// Every file below `folder`, with its bytes.
    pub fn files(&self, folder: &str) -> std::collections::BTreeMap<String, Vec<u8>> {
        let root = self.path(folder);
        let mut files = std::collections::BTreeMap::new();
        let mut open = vec![root.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                    files.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        files
    }
}

/// Runs git in `folder`, apart from the settings of whoever runs the tests.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "core.autocrlf=false"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .env_remove("GIT_DIR")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}
