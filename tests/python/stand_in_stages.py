#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""A stand-in for `fdroid` of fdroidserver's git master, which is in no registry.

It keeps the contract of the real one as far as a pipeline can see it: options and exit codes, which
command needs what of another, and which files it reads and writes. A container is a folder. Beside
the real commands it notes in `called` what it is asked, waits while there is a file `wait-COMMAND`,
and fails at the stage that the file `fail` names; these lie in the folder FDROID_STAND_IN.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path

# Commands of a build: whether they take the kind of container.
COMMANDS = {
    "fetch_repo": False,
    "fetch_srclibs": False,
    "install_ndk": False,
    "up": True,
    "execute_sudo": True,
    "push": True,
    "exec": True,
    "pull": True,
    "pull_verify": True,
    "destroy": True,
    "prepare_source": False,
    "make_source_tarball": False,
    "build_local_run": False,
}

# What the added steps import in the container.
MODULES = {
    "__init__.py": "",
    "common.py": """
from pathlib import Path
def get_config(): return {}
def get_build_dir(app): return Path("build") / app
def get_output_extension(build): return "apk"
def get_release_filename(app, build, ext): return f"{app}_{build}.{ext}"
""",
    "metadata.py": "def get_single_build(app, code): return app, int(code)\n",
    "scanner.py": """
from pathlib import Path
def scan_source(folder, build): return sum(1 for _ in Path(folder).glob("**/*.so"))
def scan_binary(file): return Path(file).read_text().count("evil")
""",
    "make_source_tarball.py": """
from pathlib import Path
def make_source_tarball(app, build):
    Path("unsigned").mkdir(exist_ok=True)
    Path(f"unsigned/{app}_{build}_src.tar.gz").write_text("source")
""",
}


def parser(command: str) -> ArgumentParser:
    """The options of a command, as those of the real one."""
    found = ArgumentParser(prog=f"fdroid {command}")
    for flags in (("-v", "--verbose"), ("-q", "--quiet"), ("--color",), ("--no-color",)):
        found.add_argument(*flags, action="store_true")
    if COMMANDS[command]:
        found.add_argument("--virt-container-type", choices=["podman", "vagrant"])
    if command == "up":
        found.add_argument("--cpus", type=int)
        found.add_argument("--memory")
    if command == "exec":
        found.add_argument("--as-root", action="store_true")
    found.add_argument("version")
    if command == "exec":
        found.add_argument("command", nargs="*")
    return found


class Failed(Exception):
    """The command ends with 1."""


def need(path: Path) -> Path:
    """What must be there."""
    if not path.exists():
        raise Failed(f"there is no {path}")
    return path


def run(name: str, options: Namespace) -> None:
    """Do what the command does."""
    app, _, code = options.version.partition(":")
    if not code.isdigit():
        raise Failed(f"{options.version} is no APPID:VERCODE")
    build = f"{app}_{code}"
    source, vcs = Path("build") / app, Path("build") / f".fdroidvcs-{app}"
    output = Path("tmp") / f"{build}.apk"
    container = Path("tmp/containers") / build
    if COMMANDS[name] and options.virt_container_type is None:
        raise Failed("virt_container_type is not set")
    if COMMANDS[name] and name not in ("up", "destroy"):
        need(container)
    match name:
        case "fetch_repo":
            need(Path(f"metadata/{app}.yml"))
            source.mkdir(parents=True, exist_ok=True)
            (source / "main.c").write_text("source")
            vcs.write_text(f"git {app}")
        case "fetch_srclibs" | "install_ndk":
            need(Path(f"metadata/{app}.yml"))
        case "up":
            # One that is there is replaced, whoever uses it.
            shutil.rmtree(container, ignore_errors=True)
            container.mkdir(parents=True)
        case "push":
            push(app, need(source), container)
        case "exec":
            execute(options.command, container)
        case "prepare_source":
            # The real one deletes a source of another origin, and clones it again, as it is now.
            if not vcs.exists() or vcs.read_text() != f"git {app}":
                raise Failed("the source would be cloned again")
            (need(source) / "prepared").touch()
        case "build_local_run":
            need(source / "prepared")
            output.parent.mkdir(exist_ok=True)
            output.write_text("apk\n")
        case "pull" | "pull_verify":
            pull(name, build, container)
        case "make_source_tarball":
            raise Failed("it never works")
        case "destroy":
            shutil.rmtree(container, ignore_errors=True)


def push(app: str, source: Path, container: Path) -> None:
    """Copy what a build needs into the container."""
    shutil.copytree(source, container / source, dirs_exist_ok=True)
    (container / "metadata").mkdir(exist_ok=True)
    shutil.copy(need(Path(f"metadata/{app}.yml")), container / "metadata")
    modules = container / "fdroidserver/fdroidserver"
    modules.mkdir(parents=True, exist_ok=True)
    for name, text in MODULES.items():
        (modules / name).write_text(text)
    shutil.copy(__file__, container / "fdroidserver/fdroid")
    (container / "fdroidserver/fdroid").chmod(0o755)


def execute(command: list[str], container: Path) -> None:
    """Run a command in the container, through a shell as the real one."""
    env = {**os.environ, "FDROID_INSIDE": "1"}
    done = subprocess.run(
        ["bash", "-e"], input=shlex.join(command), text=True, cwd=container, env=env, check=False
    )
    if done.returncode != 0:
        raise Failed(f"exit status {done.returncode}")


def pull(name: str, build: str, container: Path) -> None:
    """Copy what came of it. What is not there is only warned of."""
    Path("unsigned").mkdir(exist_ok=True)
    files = [f"unsigned/{build}.apk", f"unsigned/{build}_src.tar.gz"]
    for file in files if name == "pull" else [f"tmp/{build}.apk"]:
        if (container / file).exists():
            shutil.copy(container / file, "unsigned")
        else:
            print(f"WARNING: {file} not found!")


def verify(words: list[str]) -> None:
    """Compare what was built with what was published."""
    options = ArgumentParser(prog="fdroid verify")
    for flag in ("-v", "--output-json", "--reuse-remote-apk"):
        options.add_argument(flag, action="store_true")
    options.add_argument("appid", nargs="*")
    given = options.parse_args(words)
    for version in given.appid:
        app, _, code = version.partition(":")
        name = f"{app}_{code}.apk"
        built, published = need(Path("unsigned", name)), need(Path("tmp", name))
        verified = built.read_bytes() == published.read_bytes()
        if given.output_json:
            local = {"packageName": app, "versionCode": int(code)}
            report = {"1.0": {"local": local, "verified": verified}}
            Path("unsigned", f"{name}.json").write_text(json.dumps(report))
        if not verified:
            raise Failed(f"{name} is not what was published")


def repository(name: str) -> None:
    """What makes the repository has no part in this; it leaves what others look for."""
    if name == "update":
        Path("repo").mkdir(exist_ok=True)
        Path("repo/index-v1.json").write_text("index\n")


def main() -> None:
    """The command line."""
    name, *rest = sys.argv[1:]
    notes = Path(os.environ["FDROID_STAND_IN"])
    if not os.environ.get("FDROID_INSIDE") or name in ("prepare_source", "build_local_run"):
        with (notes / "called").open("a") as called:
            called.write(f"{name}\n")
    while (notes / f"wait-{name}").exists():
        time.sleep(0.05)
    fail = notes / "fail"
    if fail.exists() and fail.read_text() == name:
        sys.exit(1)
    if name not in COMMANDS and name != "verify":
        repository(name)
        return
    try:
        if name == "verify":
            verify(rest)
        else:
            run(name, parser(name).parse_args(rest))
    except Failed as e:
        print(f"ERROR: {e}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
