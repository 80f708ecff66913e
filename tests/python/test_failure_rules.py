# SPDX-License-Identifier: GPL-2.0-or-later
"""What F-Droid's rules make of the ends of logs, shaped as those of builds that have failed."""

from __future__ import annotations

import tomllib

import pytest

from fdroid_bb.failures import rules
from fdroid_bb.failures.rules import FailureRule
from masters import ROOT

_SHIPPED = tomllib.loads((ROOT / "pipelines/f-droid.toml").read_text())["failures"]


def _rules(kind: str) -> list[FailureRule]:
    return [
        FailureRule(name.replace("-", " "), rule["pattern"])
        for name, rule in _SHIPPED[kind].items()
    ]


INFRASTRUCTURE, SOURCE = _rules("infrastructure"), _rules("source")

# The end of a log, and what the status says of it.
GRADLE = """\
> Task :app:{task} FAILED

FAILURE: Build failed with an exception.

* What went wrong:
{wrong}

* Try:
> Run with --stacktrace option to get the stack trace.

BUILD FAILED in 3m 7s
2026-11-30 21:10:59,104 ERROR: Could not build app org.example.app: Build failed for it
2026-11-30 21:10:59,105 INFO: 1 build failed
"""
GRADLE_502 = """\
Could not resolve all files for configuration ':app:releaseCompileClasspath'.
> Could not resolve com.example:library:2.0.
  Required by:
      project :app
   > Could not GET 'https://example.org/l-2.0.pom'. Received status code 502 from server: Bad"""
GRADLE_404 = GRADLE_502.replace("502 from server: Bad", "404 from server: Not Found")
DETAIL = "> A failure occurred while executing org.jetbrains.kotlin.Compile"
FDROID = (
    "2026-11-30 21:10:59,104 ERROR: Could not build app org.example.app: {}\nINFO: 1 build failed\n"
)
CLONE = """\
Cloning into 'app'...
remote: Counting objects: 100% (16/16), done.
{}
fatal: early EOF
fatal: fetch-pack: invalid index-pack output
"""
URL = "https://git.example.org/app.git/"

TOLD_OF_INFRASTRUCTURE = [
    (GRADLE.format(task="compile", wrong=GRADLE_502), "server error", "code 502 from server"),
    (
        GRADLE.format(task="x", wrong="> java.net.UnknownHostException: maven.example.org"),
        "network away",
        "maven.example.org",
    ),
    (
        GRADLE.format(task="x", wrong="> Could not GET 'https://a.b/c'.\n  > Read timed out"),
        "connection lost",
        "Read timed out",
    ),
    (
        CLONE.format("error: RPC failed; curl 56 GnuTLS recv error (-54): Error in the pull"),
        "git hung up",
        "curl 56",
    ),
    (CLONE.format("fetch-pack: unexpected disconnect while reading"), "git hung up", "fetch-pack"),
    (
        f"fatal: unable to access '{URL}': Could not resolve host: git.example.org",
        "network away",
        "unable to access",
    ),
    (
        f"fatal: unable to access '{URL}': The requested URL returned error: 503",
        "server error",
        "error: 503",
    ),
    (
        f"fatal: unable to access '{URL}': Failed to connect to git.example.org port 443",
        "network away",
        "port 443",
    ),
    ("npm error code ECONNRESET\nnpm error network aborted", "connection lost", "ECONNRESET"),
    ("cp: error writing 'x': No space left on device", "disk full", "cp: error"),
    ("OSError: [Errno 28] No space left on device: 'x'", "disk full", "OSError"),
    ("requests.HTTPError: 503 Server Error: Service for url: https://a.b", "server error", "503"),
    ("urllib.error.HTTPError: HTTP Error 429: Too Many Requests", "server error", "429"),
    (
        GRADLE.format(task="x", wrong="Gradle build daemon disappeared unexpectedly (it may have)"),
        "memory full",
        "daemon",
    ),
]

TOLD_OF_THE_SOURCE = [
    (
        "/home/vagrant/build/a.b/src/A.java:7: error: cannot find symbol\n  symbol: class R\n"
        + GRADLE.format(task="compileJava", wrong="Compilation failed; see the compiler output."),
        ("does not compile", "/home/vagrant/build/a.b/src/A.java:7: error: cannot find symbol"),
    ),
    (
        "w: file:///b/A.kt:1:1 unused\ne: file:///b/A.kt:12:5 Unresolved reference: Foo\n"
        + GRADLE.format(task="compileKotlin", wrong=f"Execution failed.\n{DETAIL}"),
        ("does not compile", "e: file:///b/A.kt:12:5 Unresolved reference: Foo"),
    ),
    (
        "jni/a.c:3:10: fatal error: 'x.h' file not found\nmake: *** [a.o] Error 1\n",
        ("does not compile", "jni/a.c:3:10: fatal error: 'x.h' file not found"),
    ),
    (
        "error[E0432]: unresolved import `foo`\n --> src/lib.rs:1:5\n",
        ("does not compile", "error[E0432]: unresolved import `foo`"),
    ),
    (
        GRADLE.format(task="x", wrong=f"Execution failed for task ':app:x'.\n{DETAIL}"),
        ("gradle refuses", f"Execution failed for task ':app:x'.\n{DETAIL}"),
    ),
    (
        GRADLE.format(task="x", wrong=GRADLE_404),
        ("gradle refuses", "\n".join(GRADLE_404.splitlines()[:2])),
    ),
    (
        "ERROR: Found usual suspect 'crashlytics' at app/build.gradle\n"
        + FDROID.format("Can't build due to 1 error while scanning"),
        ("scanner found", "Found usual suspect 'crashlytics' at app/build.gradle"),
    ),
    (
        FDROID.format("Can't build due to 1 error while scanning"),
        ("fdroidserver refuses", "Can't build due to 1 error while scanning"),
    ),
    (
        FDROID.format("glob path 'toybox' did not match any files/dirs"),
        ("fdroidserver refuses", "glob path 'toybox' did not match any files/dirs"),
    ),
    (
        "error: patch failed: app/build.gradle:3\nerror: app/build.gradle: does not apply\n"
        + FDROID.format("Failed to apply patch fix.patch"),
        ("patch does not apply", "error: patch failed: app/build.gradle:3"),
    ),
    (
        "error: pathspec 'v1.2' did not match any file(s) known to git\n" + FDROID.format("x"),
        (
            "commit is missing",
            "error: pathspec 'v1.2' did not match any file(s) known to git",
        ),
    ),
    (
        "Cloning into 'core'...\nfatal: remote error: upload-pack: not our ref 12ab\n"
        "fatal: Fetched in submodule path 'core', but it did not contain 12ab.\n",
        ("commit is missing", "fatal: remote error: upload-pack: not our ref 12ab"),
    ),
    (
        "error: Server does not allow request for unadvertised object 12ab\n",
        (
            "commit is missing",
            "error: Server does not allow request for unadvertised object 12ab",
        ),
    ),
    (
        "Found     gradleVersion = x\nNo hash for gradle version 99.1! Exiting...\n",
        ("machine lacks something", "No hash for gradle version 99.1! Exiting..."),
    ),
    (
        "sh: 1: yarnpkg: command not found\n" + FDROID.format("Error running init command"),
        ("machine lacks something", "sh: 1: yarnpkg: command not found"),
    ),
    (
        "> Task :app:test\ncommand timed out: 7200 seconds elapsed running [b'fdroid-machine']",
        ("took too long", "7200 seconds elapsed"),
    ),
]


@pytest.mark.parametrize(("text", "words", "part"), TOLD_OF_INFRASTRUCTURE)
def test_what_the_infrastructure_failed_of(text: str, words: str, part: str) -> None:
    found = rules.first(INFRASTRUCTURE, "fdroid build", text)
    assert found is not None
    assert found[0] == words
    assert part in found[1]
    assert "\n" not in found[1]


@pytest.mark.parametrize(("text", "told"), TOLD_OF_THE_SOURCE)
def test_what_the_source_failed_of(text: str, told: tuple[str, str]) -> None:
    assert rules.first(INFRASTRUCTURE, "fdroid build", text) is None
    assert rules.first(SOURCE, "fdroid build", text) == told


def test_each_rule_is_tried() -> None:
    tried = {words for _, words, _ in TOLD_OF_INFRASTRUCTURE}
    assert tried == {rule.words for rule in INFRASTRUCTURE}
    assert {told[0] for _, told in TOLD_OF_THE_SOURCE} == {rule.words for rule in SOURCE}


def test_a_rule_is_for_its_steps() -> None:
    [rule] = [FailureRule("asked", "(?i)FATAL", steps=["git data"])]
    assert rules.first([rule], "git data", "fatal: x") == ("asked", "fatal: x")
    assert rules.first([rule], "fdroid build", "fatal: x") is None
