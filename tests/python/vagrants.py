# SPDX-License-Identifier: GPL-2.0-or-later
"""A master with workers in Vagrant's machines, and the ways to break them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from conftest import VAGRANT_BOX
from masters import PATIENCE, Master, ended, wait_for

# Notes its arguments; where a fault is laid down for a command, that runs instead.
_VAGRANT = """\
#!/bin/sh
echo "$*" >> {folder}/vagrant.log
fault={folder}/fault-$1
if [ -e "$fault" ]; then exec sh "$fault" {real} "$@"; fi
exec {real} "$@"
"""

# Notes its arguments and what it is told; a fault is for the worker's start only.
_SSH = """\
#!/bin/sh
echo "$*" >> {folder}/ssh.log
cat > {folder}/ssh.stdin.$$
fault={folder}/fault-ssh
if [ -e "$fault" ] && grep -q WORKERNAME {folder}/ssh.stdin.$$; then exec sh "$fault"; fi
exec {real} "$@" < {folder}/ssh.stdin.$$
"""

_CONFIG = """
c["workers"] += [VagrantLatentWorker(name, **arguments) for name, arguments in WORKERS.items()]
def builder(name, workers):
    return util.BuilderConfig(name=name, workernames=workers, factory=util.BuildFactory([
        steps.ShellCommand(
            name="script", command=["sh", "-c", util.Property("script")], logEnviron=True,
            env={"BUILDNUMBER": util.Interpolate("%(prop:buildnumber)s")}, haltOnFailure=True)]))
c["collapseRequests"] = False
c["builders"] += [builder(name, workers) for name, workers in BUILDERS.items()]
c["schedulers"].append(schedulers.ForceScheduler(
    name="force-vm", builderNames=list(BUILDERS) or ["idle"],
    properties=[util.StringParameter(name="script", size=1000)]))
"""


class Vagrants:
    """A master whose builders `vm` and `other` run scripts in the machines of its workers."""

    def __init__(self, folder: Path, *, count: int = 1, more: str = "", **arguments: Any) -> None:
        """With `more` at the end of its configuration."""
        self.more = more
        self.programs = folder / "programs"
        self.programs.mkdir(parents=True)
        for name, text in (("vagrant", _VAGRANT), ("ssh", _SSH)):
            program = self.programs / name
            program.write_text(text.format(folder=self.programs, real=shutil.which(name)))
            program.chmod(0o755)
        self.arguments = {"box": VAGRANT_BOX, "missing_timeout": PATIENCE, **arguments}
        self.count = count
        # None: those that all tests use.
        self.builders: dict[str, list[str]] | None = None
        path = f"{self.programs}:{os.environ['PATH']}"
        self.master = Master(folder / "master", env={"PATH": path})
        self.write()

    @property
    def names(self) -> list[str]:
        """The workers."""
        return [f"vm-{n}" for n in range(1, self.count + 1)]

    def config(self) -> str:
        """The configuration as the workers are now."""
        arguments = {"check_instance_interval": 1, **self.arguments}
        workers = ", ".join(
            f"{name!r}: dict(worker_port=PB_PORT, **{arguments!r})" for name in self.names
        )
        builders = self.builders
        if builders is None:
            builders = {"vm": self.names, "other": self.names}
        return f"WORKERS = {{{workers}}}\nBUILDERS = {builders!r}\n{_CONFIG}{self.more}"

    def write(self) -> None:
        """Lay down the configuration."""
        self.master.write(self.config())

    def directory(self, name: str = "vm-1") -> Path:
        """Of a worker's machine."""
        return self.master.basedir / "vagrant" / name

    def domain(self, name: str = "vm-1") -> str:
        """What the machine is called in libvirt and in Docker, or begins with."""
        text = (self.directory(name) / "Vagrantfile").read_text()
        found = re.search(r"machine.(?:default_prefix = '(.*)'|name = '(.*)default')", text)
        assert found is not None
        return f"{found[1] or found[2]}default"

    def containers(self) -> set[str]:
        """Its machines in Docker, running or not."""
        made = [name for name in self.names if (self.directory(name) / "Vagrantfile").exists()]
        prefixes = tuple(self.domain(name) for name in made)
        command = ["docker", "ps", "-a", "--format", "{{.Names}}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
        return {name for name in done.stdout.split() if name.startswith(prefixes)}

    def fault(self, command: str, script: str | None) -> None:
        """Run a shell script instead of a command of Vagrant, or of `ssh`. None: mend.

        For a command of Vagrant, `$@` is the real one.
        """
        path = self.programs / f"fault-{command}"
        if script is None:
            path.unlink()
        else:
            path.write_text(script)

    def said(self) -> list[str]:
        """The commands of Vagrant so far."""
        path = self.programs / "vagrant.log"
        return path.read_text().splitlines() if path.exists() else []

    def ask(self, script: str = "true", builder: str = "vm") -> None:
        """Ask for a build."""
        answer = self.master.force("force-vm", builder, script=script)
        assert answer.status == 200, answer

    def builds(self, builder: str = "vm") -> list[dict[str, Any]]:
        """All so far."""
        path = f"builders/{self.master.builderid(builder)}/builds?order=number"
        found: list[dict[str, Any]] = self.master.rest(path)["builds"]
        return found

    def attempt(
        self, script: str = "true", builder: str = "vm", seconds: float = PATIENCE
    ) -> dict[str, Any]:
        """Have a script run: the first build, once it is complete, also if it is tried again."""
        count = len(self.builds(builder))
        self.ask(script, builder)
        return self.finished(count + 1, builder, seconds)

    def build(self, script: str = "true", builder: str = "vm") -> dict[str, Any]:
        """Have a script run: the build that is not tried again, once it is complete.

        An emulated machine does not come up now and then, and the master starts it once more.
        """
        count = len(self.builds(builder))
        self.ask(script, builder)
        return ended(lambda: self.builds(builder)[count:], 3 * PATIENCE)

    def finished(
        self, count: int, builder: str = "vm", seconds: float = PATIENCE
    ) -> dict[str, Any]:
        """The build number `count`, once it is complete."""

        def done() -> dict[str, Any] | None:
            builds = self.builds(builder)
            return (
                builds[count - 1]
                if len(builds) >= count and builds[count - 1]["complete"]
                else None
            )

        found = wait_for(f"build {count} of {builder}", done, seconds)
        assert found is not None
        return found

    def succeeded(self, since: int, builder: str = "vm") -> dict[str, Any]:
        """The first build after `since` others that was good, however many were tried again."""

        def good() -> dict[str, Any] | None:
            return next((b for b in self.builds(builder)[since:] if b["results"] == 0), None)

        found = wait_for("a good build", good, PATIENCE)
        assert found is not None
        return found

    def machine_log(self, build: dict[str, Any]) -> str:
        """What was done for its machine, and why that failed if it did."""
        return str(self.master.steps(build)["worker_preparation"]["text"])

    def said_of_machine(self, build: dict[str, Any]) -> str:
        """What the log `machine` alone says, whatever Buildbot's own logs do."""
        step = self.master.rest(f"builds/{build['buildid']}/steps")["steps"][0]
        logs = self.master.rest(f"steps/{step['stepid']}/logs")["logs"]
        (log,) = [log for log in logs if log["name"] == "machine"]
        assert log["complete"]
        content = self.master.rest(f"logs/{log['logid']}/contents")["logchunks"][0]["content"]
        return "".join(line[1:] for line in content.splitlines(keepends=True))

    def script_log(self, build: dict[str, Any]) -> str:
        """What its script printed."""
        return str(self.master.steps(build)["script"]["text"])

    def cancel(self, build: dict[str, Any]) -> None:
        """Stop a build."""
        body = '{"jsonrpc": "2.0", "id": 1, "method": "stop", "params": {"reason": "enough"}}'
        headers = {"Content-Type": "application/json"}
        self.master.ask("POST", f"/api/v2/builds/{build['buildid']}", body, headers)

    def building(self, number: int, builder: str = "vm") -> int:
        """Wait until the script of a build runs; the build's id."""

        def runs() -> int | None:
            for build in self.builds(builder)[number - 1 :]:
                steps = self.master.rest(f"builds/{build['buildid']}/steps")["steps"]
                if any(s["name"] == "script" and s["started_at"] for s in steps):
                    return int(build["buildid"])
            return None

        found = wait_for("the script", runs, PATIENCE)
        assert found is not None
        return found

    def idle(self, seconds: float = 60) -> None:
        """Wait until no machine may hold anything of a build."""

        def clean() -> bool:
            files = self.master.basedir.glob("vagrant/*/state.json")
            return all(json.loads(path.read_text())["clean"] for path in files)

        wait_for("the machines to be clean", clean, seconds)

    def wait_in_log(self, text: str, seconds: float = 60) -> None:
        """Wait for a word in the master's log."""
        wait_for(text, lambda: text in self.master.log(), seconds)

    def __enter__(self) -> Vagrants:
        self.master.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.master.__exit__(*error)
        for name in self.names:
            if (self.directory(name) / ".vagrant").exists():
                destroy(self.directory(name))


def destroy(directory: Path) -> None:
    """Destroy a machine."""
    command = ["vagrant", "destroy", "-f"]
    subprocess.run(command, cwd=directory, capture_output=True, timeout=PATIENCE, check=True)


def virsh(*arguments: str) -> str:
    """What virsh prints."""
    command = ["virsh", "-q", "-c", "qemu:///system", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True)
    return done.stdout


def domains(*states: str) -> set[str]:
    """The machines of libvirt."""
    return set(virsh("list", "--name", *(states or ("--all",))).split())


def volumes() -> set[str]:
    """The disks of libvirt's machines."""
    return {line.split()[0] for line in virsh("vol-list", "default").splitlines()}
