# SPDX-License-Identifier: GPL-2.0-or-later
"""Compile the example, and run its masters until Ctrl-C.

Called by `./dev demo`, with the program in FDROID_BB and this Python from the virtual
environment that has Buildbot.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

BUILDBOT = str(Path(sys.executable).parent / "buildbot")

# Seconds for a master to start, and for its page to answer.
START_TIMEOUT = 120


def compile_example(out: Path) -> list[Path]:
    """Run the compiler; the folders of the masters it made."""
    program = os.environ.get("FDROID_BB", "target/release/fdroid-bb")
    options = ["--config", "example/fdroid-bb.toml", "--fdroiddata", "example/fdroiddata"]
    subprocess.run([program, "generate", *options, "--out", str(out)], check=True)
    masters = sorted(config.parent for config in (out / "masters").glob("*/master.cfg"))
    if not masters:
        sys.exit(f"demo: {out}/masters has no master.cfg")
    return masters


def make_secrets(config: str, basedir: Path) -> None:
    """Random values for the secrets that master.cfg names."""
    folder = basedir / "secrets"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in sorted(set(re.findall(r"\bSecret\(\s*[\"']([^\"']+)[\"']", config))):
        path = folder / name
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(secrets.token_urlsafe(24))


def start(source: Path, basedir: Path) -> subprocess.Popen[bytes]:
    """Lay out a master whose configuration stays where the compiler wrote it, and start it."""
    config = source / "master.cfg"
    if not (basedir / "buildbot.tac").exists():
        basedir.mkdir(mode=0o700, parents=True, exist_ok=True)
        create = [BUILDBOT, "create-master", "-q", "--config", str(config.resolve()), str(basedir)]
        subprocess.run(create, check=True)
    # Before the next command, which loads master.cfg: Buildbot looks for the folder at once.
    make_secrets(config.read_text(), basedir)
    subprocess.run([BUILDBOT, "upgrade-master", "-q", str(basedir)], check=True)
    # In a session of its own: Ctrl-C reaches this program, which then stops the masters in turn.
    return subprocess.Popen(
        [BUILDBOT, "start", "--nodaemon", str(basedir)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )


def web_port(config: str) -> int | None:
    """The port of a master's page, as its master.cfg has it."""
    found = re.search(
        r"[\"']www[\"'].*?[\"']?port[\"']?\s*[:=]\s*[\"']?(?:tcp:)?(\d+)", config, re.S
    )
    return int(found.group(1)) if found else None


def wait_until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask the REST API until it knows of an active master."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START_TIMEOUT
    while time.monotonic() < end:
        if process.poll() is not None:
            sys.exit(f"demo: the master ended; the last lines of {log}:\n{tail(log)}")
        try:
            with opener.open(f"http://127.0.0.1:{port}/api/v2/masters", timeout=5) as answer:
                if any(master["active"] for master in json.load(answer)["masters"]):
                    return
        except OSError:
            pass
        time.sleep(0.3)
    sys.exit(f"demo: no answer in {START_TIMEOUT} s; the last lines of {log}:\n{tail(log)}")


def tail(log: Path) -> str:
    """The end of a log, if there is one."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:]) if log.exists() else ""


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    """End the masters, by force after a while."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def main() -> None:
    """Run the demo."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "target/demo")
    if folder == Path("target/demo"):
        shutil.rmtree(folder, ignore_errors=True)
    # A service manager stops the demo with SIGTERM: as if it were Ctrl-C, which a shell's
    # background jobs ignore unless told otherwise.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for source in compile_example(folder / "config"):
            basedir = folder / source.name
            process = start(source, basedir)
            processes.append(process)
            if port := web_port((source / "master.cfg").read_text()):
                wait_until_it_answers(port, process, basedir / "twistd.log")
                print(f"demo: {source.name} runs at http://localhost:{port}/", flush=True)
        password = folder / "example/secrets/web-demo"
        print(f"demo: log in there as `demo`; the password is in {password}", flush=True)
        print("demo: Ctrl-C stops it", flush=True)
        while all(process.poll() is None for process in processes):
            time.sleep(0.5)
        sys.exit("demo: a master ended by itself")
    except KeyboardInterrupt:
        print("\ndemo: stopping", flush=True)
    finally:
        stop(processes)


if __name__ == "__main__":
    main()
