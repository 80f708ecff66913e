//! Real repositories of every kind that git makes: what libgit2 cannot read, git reads, and what
//! neither reads is told in git's own words.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

mod common;
mod skip;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Command;

use common::{Run, Sandbox, git};

const REFTABLE: &str = "--ref-format=reftable";

/// Runs with a home and a cache of its own.
fn run(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let mut command = sandbox.command(arguments);
    command.env("HOME", sandbox.path("home")).env("XDG_CACHE_HOME", sandbox.path("cache"));
    Run::of(command.env_remove("XDG_CONFIG_HOME").env("GIT_CONFIG_NOSYSTEM", "1"))
}

/// Whether this git has reftable, which came with 2.45.
fn has_reftable(sandbox: &Sandbox) -> bool {
    let mut init = Command::new("git");
    let made = init.args(["init", "-q", REFTABLE, "probe"]).current_dir(sandbox.path("."));
    made.output().unwrap().status.success()
}

/// fdroiddata with everything that a tree can hold, in a bare repository `files.git`.
fn hostile() -> Sandbox {
    let sandbox = Sandbox::new(&["org.example.a", "org.example.b", "org.example.c"]);
    let metadata = sandbox.path("fdroiddata/metadata");
    sandbox.app("org.example.broken", &["Builds: ["]);
    sandbox.put("fdroiddata/metadata/org.example.large.yml", vec![b'#'; (4 << 20) + 1]);
    sandbox.put("fdroiddata/metadata/org.example.after.yml", "UpdateCheckMode: None\n");
    sandbox.put("fdroiddata/metadata/a.folder.yml/x", "x");
    sandbox.put("fdroiddata/metadata/a line\nend.yml", "x: y\n");
    sandbox.put("fdroiddata/srclibs/Some.yml", "RepoType: git\nRepo: https://example.org/x\n");
    for (name, target) in [
        ("org.example.link.yml", "org.example.a.yml"),
        ("org.example.out.yml", "/etc/passwd"),
        ("org.example.up.yml", "../../x.yml"),
    ] {
        symlink(target, metadata.join(name)).unwrap();
    }
    fs::write(
        metadata.join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"a\xff.yml")),
        "",
    )
    .unwrap();
    let many: Vec<String> = (0..300).map(|n| format!("org.example.many{n}")).collect();
    for id in &many {
        sandbox.app(id, &["UpdateCheckMode: Tags"]);
    }
    sandbox.commit();
    let commit = sandbox.git(&["rev-parse", "HEAD"]);
    let entry = format!("160000,{commit},metadata/a.submodule.yml");
    sandbox.git(&["update-index", "--add", "--cacheinfo", &entry]);
    sandbox.git(&["commit", "-q", "-m", "a submodule"]);
    git(&sandbox.path("."), &["clone", "-q", "--bare", "fdroiddata", "files.git"]);
    sandbox
}

#[test]
fn git_and_libgit2_give_the_same() {
    let sandbox = hostile();
    if !has_reftable(&sandbox) {
        skip::skipped("repositories with reftable: git is older than 2.45");
        return;
    }
    git(&sandbox.path("."), &["clone", "-q", "--bare", REFTABLE, "files.git", "reftable.git"]);
    git(&sandbox.path("."), &["clone", "-q", REFTABLE, "files.git", "reftable"]);
    for command in [&["apps", "--format", "json"][..], &["apps"], &["check"], &["check"]] {
        let with = |more: &[&str]| run(&sandbox, &[command, more].concat()).ends(0);
        let libgit2 = with(&["--fdroiddata=files.git"]);
        assert!(libgit2.stderr.contains("org.example.large") || command[0] == "apps");
        // The second `check` has all in its cache.
        for other in [
            &["--fdroiddata=reftable.git"][..],
            &["--fdroiddata=reftable.git", "--rev=master"],
            &["--fdroiddata=reftable", "--rev=HEAD"],
        ] {
            assert_eq!(with(other).seen(), libgit2.seen(), "{other:?}");
        }
    }
    let read = run(&sandbox, &["check", "--fdroiddata=reftable"]).ends(0);
    let commit = sandbox.git(&["rev-parse", "HEAD"]);
    assert!(read.stdout.contains(&format!(", at {}\n", &commit[..12])), "{}", read.seen());
    let run = run(&sandbox, &["check", "--fdroiddata=reftable.git", "--rev=none"]).ends(1);
    assert!(run.stderr.contains("`none` is no commit of `reftable.git`: "), "{}", run.seen());
}

#[test]
fn sha_256_is_read_too() {
    let sandbox = hostile();
    git(&sandbox.path("."), &["init", "-q", "--object-format=sha256", "-b", "master", "long"]);
    let copied = Command::new("cp")
        .arg("-a")
        .arg(sandbox.path("fdroiddata/metadata"))
        .arg(sandbox.path("fdroiddata/srclibs"))
        .arg(sandbox.path("long"))
        .status();
    assert!(copied.unwrap().success());
    let long = sandbox.path("long");
    git(&long, &["add", "-A"]);
    git(&long, &["commit", "-q", "-m", "first"]);
    let commit = git(&long, &["rev-parse", "HEAD"]);
    assert_eq!(commit.len(), 64);
    git(&sandbox.path("."), &["clone", "-q", "--bare", "long", "long.git"]);
    let without = |run: &Run| run.seen().replace("at ", "").replace(&commit[..12], "COMMIT");
    let sha1 = sandbox.git(&["rev-parse", "HEAD~"]);
    let expected = run(&sandbox, &["check", "--fdroiddata=files.git", "--rev=HEAD~"]).ends(0);
    let expected = expected.seen().replace("at ", "").replace(&sha1[..12], "COMMIT");
    for arguments in [&["check", "--fdroiddata=long.git"], &["check", "--fdroiddata=long.git"]] {
        assert_eq!(without(&run(&sandbox, arguments).ends(0)), expected);
    }
    let read = run(&sandbox, &["check", "--fdroiddata=long"]).ends(0);
    assert!(read.stdout.contains(&format!(", at {}\n", &commit[..12])), "{}", read.seen());
}

#[test]
fn another_users_repository_is_refused_in_gits_words_until_it_is_trusted() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    sandbox.commit();
    git(&sandbox.path("."), &["clone", "-q", "--bare", "fdroiddata", "bare.git"]);
    if fs::metadata(sandbox.path("bare.git")).unwrap().uid() != 0 {
        skip::skipped("a repository of another user: only root can make one");
        return;
    }
    let paths = ["bare.git", "fdroiddata"].map(|name| sandbox.path(name));
    let given = Command::new("chown").args(["-R", "nobody"]).args(&paths).status().unwrap();
    assert!(given.success());
    let path = |name: &str| fs::canonicalize(sandbox.path(name)).unwrap().display().to_string();
    let trust = |name: &str| format!("git config --global --add safe.directory {}", path(name));
    for arguments in [&["check", "--fdroiddata=bare.git"][..], &["check", "--rev", "HEAD"]] {
        let refused = run(&sandbox, arguments).ends(1);
        let words = refused.stderr;
        assert!(
            words.contains("cannot be read: detected dubious ownership in repository at"),
            "{words}"
        );
        assert!(words.contains("git config --global --add safe.directory "), "{words}");
    }
    // The files of a checkout can be read, but not of which commit they are.
    let read = run(&sandbox, &["check"]).ends(0);
    let words = format!("{}{}", read.stderr, read.stdout);
    assert!(words.contains("warning[commit-unknown]: the commit of `fdroiddata` is not known: detected dubious ownership"), "{words}");
    assert!(words.contains(&trust("fdroiddata")), "{words}");
    assert!(!words.contains(", at "), "{words}");
    run(&sandbox, &["check", "--deny-warnings"]).ends(3);
    fs::create_dir(sandbox.path("home")).unwrap();
    for name in ["bare.git", "fdroiddata"] {
        let mut trusting = Command::new("sh");
        trusting.args(["-c", &trust(name)]).env("HOME", sandbox.path("home"));
        assert!(trusting.env_remove("XDG_CONFIG_HOME").status().unwrap().success());
        let option = format!("--fdroiddata={name}");
        let read = run(&sandbox, &["check", "--deny-warnings", &option]).ends(0);
        assert!(read.stdout.contains(", at "), "{}", read.seen());
    }
}

#[test]
fn what_git_cannot_read_either_is_told() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    sandbox.commit();
    git(&sandbox.path("."), &["clone", "-q", "--bare", "fdroiddata", "new.git"]);
    let new = sandbox.path("new.git");
    git(&new, &["config", "core.repositoryFormatVersion", "1"]);
    git(&new, &["config", "extensions.yetUnknown", "true"]);
    let refused = run(&sandbox, &["check", "--fdroiddata=new.git"]).ends(1).stderr;
    assert!(refused.contains("unknown repository extension found: yetunknown"), "{refused}");
    assert!(refused.contains("help: install a newer git"), "{refused}");

    // An extension of which libgit2 does not know, but git does.
    git(&sandbox.path("."), &["clone", "-q", "--bare", "fdroiddata", "partial.git"]);
    let partial = sandbox.path("partial.git");
    git(&partial, &["config", "core.repositoryFormatVersion", "1"]);
    git(&partial, &["config", "extensions.partialClone", "origin"]);
    run(&sandbox, &["check", "--fdroiddata=partial.git"]).ends(0);

    let mut command = sandbox.command(&["check", "--fdroiddata=new.git"]);
    let alone = Run::of(command.env("PATH", "/nonexistent")).ends(1).stderr;
    assert!(alone.contains("git cannot be run") && alone.contains("help: install git"), "{alone}");
}

#[test]
fn a_branch_without_commits_is_told() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    git(&sandbox.path("."), &["init", "-q", "--bare", "-b", "main", "empty.git"]);
    git(&sandbox.path("."), &["init", "-q", "-b", "main", "empty"]);
    sandbox.git(&["init", "-q", "-b", "main"]);
    let unborn = "the branch `main` has no commit yet";
    for name in ["empty.git", "empty"] {
        let refused = run(&sandbox, &["check", &format!("--fdroiddata={name}")]).ends(1);
        assert!(refused.stderr.contains(unborn), "{}", refused.seen());
    }
    let read = run(&sandbox, &["check"]).ends(0);
    assert!(
        read.stderr.contains(unborn) && read.stderr.contains("commit-unknown"),
        "{}",
        read.seen()
    );
    // HEAD names a branch that is not there, but another one is.
    sandbox.commit();
    git(&sandbox.path("."), &["clone", "-q", "--bare", "fdroiddata", "other.git"]);
    git(&sandbox.path("other.git"), &["symbolic-ref", "HEAD", "refs/heads/gone"]);
    let refused = run(&sandbox, &["check", "--fdroiddata=other.git"]).ends(1);
    assert!(refused.stderr.contains("the branch `gone` has no commit yet"), "{}", refused.seen());
    run(&sandbox, &["check", "--fdroiddata=other.git", "--rev=main"]).ends(0);
}

#[test]
fn checkouts_of_every_kind_know_their_commit() {
    let sandbox = Sandbox::new(&["org.example.a"]);
    sandbox.commit();
    sandbox.commit();
    let commits = ["HEAD", "HEAD~"].map(|name| sandbox.git(&["rev-parse", name]));
    sandbox.git(&["worktree", "add", "-q", "--detach", "../beside", "HEAD~"]);
    git(
        &sandbox.path("."),
        &["clone", "-q", "--separate-git-dir=apart.git", "fdroiddata", "apart"],
    );
    sandbox.git(&["checkout", "-q", "--detach"]);
    for (name, commit) in
        [("fdroiddata", &commits[0]), ("beside", &commits[1]), ("apart", &commits[0])]
    {
        let read = run(&sandbox, &["check", &format!("--fdroiddata={name}")]).ends(0);
        assert!(read.stdout.contains(&format!(", at {}\n", &commit[..12])), "{}", read.seen());
        assert_eq!(read.stderr, "");
    }
    // The repository of a worktree is gone.
    fs::rename(sandbox.path("fdroiddata/.git"), sandbox.path("moved")).unwrap();
    let read = run(&sandbox, &["check", "--fdroiddata=beside"]).ends(0);
    let words = "the commit of `beside` is not known: not a git repository: ";
    assert!(read.stderr.contains(words), "{}", read.seen());
    // Without any, nothing is missed.
    let read = run(&sandbox, &["check"]).ends(0);
    assert_eq!(read.stderr, "");
}
