# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent workers in virtual machines that Vagrant makes, a fresh one for each build.

What Buildbot lacked: it starts workers in clouds, in Docker and in libvirt domains that someone
has prepared, but knows no Vagrant, whose boxes F-Droid's build server is shipped as.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from buildbot.config.errors import error as config_error
from buildbot.interfaces import LatentWorkerFailedToSubstantiate
from buildbot.worker.latent import AbstractLatentWorker
from twisted.internet import defer
from twisted.python import log

from . import process
from .process import CommandFailed
from .vagrantfile import Machine, Option

# Seconds for each of Vagrant's smaller commands; starting Ruby alone takes it two.
_COMMAND_TIMEOUT = 300

# Seconds that Buildbot may wait for the worker once its machine is up.
_CONNECT_TIMEOUT = 120

_SSH_OPTIONS = (
    "-T",
    "-oBatchMode=yes",
    "-oConnectTimeout=60",
    "-oExitOnForwardFailure=yes",
    "-oLogLevel=ERROR",
    "-oServerAliveCountMax=4",
    "-oServerAliveInterval=15",
)

# Run by the machine's shell, which has the variables by then. A box brings either `bbworker`,
# which reads them, or the command of Buildbot's own package.
_START_WORKER = r"""
if command -v bbworker >/dev/null; then exec bbworker; fi
if ! command -v buildbot-worker >/dev/null; then
    echo "the box has neither bbworker nor buildbot-worker" >&2
    exit 127
fi
mkdir -p "$HOME/worker" && cd "$HOME/worker" || exit 1
cat > buildbot.tac <<'TAC'
import os
from twisted.application import service
from buildbot_worker.bot import Worker
application = service.Application('buildbot-worker')
Worker(
    os.environ['BUILDMASTER'],
    int(os.environ['BUILDMASTER_PORT']),
    os.environ['WORKERNAME'],
    os.environ.pop('WORKERPASS'),
    os.getcwd(),
    keepalive=600,
    umask=None,
    maxdelay=5,
).setServiceParent(application)
TAC
exec buildbot-worker start --nodaemon .
"""


class VagrantLatentWorker(AbstractLatentWorker):
    """A worker in a machine of `box`, made before a build and destroyed after it.

    The master logs into the machine by ssh and takes its own `worker_port` along, which can
    therefore listen on loopback only. The password is new for each start and goes through ssh's
    standard input: no file and no process list of the master's host shows it. `memory` is in
    MiB, `start_timeout` in seconds; `directory` is the machine's own, default
    `vagrant/NAME` in the master's.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._ssh: process.Command | None = None
        super().__init__(*args, **kwargs)

    def checkConfig(  # type: ignore[override]  # each worker has arguments of its own
        self,
        name: str,
        *,
        box: str,
        provider: str = "libvirt",
        box_version: str | None = None,
        memory: int | None = None,
        cpus: int | None = None,
        provider_options: Mapping[str, Option] | None = None,
        directory: str | None = None,
        worker_port: int = 9989,
        start_timeout: int = 900,
        **kwargs: Any,
    ) -> None:
        """Refuse now what Vagrant would refuse at the first build."""
        machine = Machine(box, provider, box_version, memory, cpus, provider_options or {})
        problems = list(machine.problems())
        if directory is None and not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
            problems.append("its name is no name for a directory: give one")
        if not 0 < worker_port < 65536:
            problems.append(f"worker_port is no port: {worker_port}")
        if start_timeout < 1:
            problems.append(f"start_timeout must be positive: {start_timeout}")
        for problem in problems:
            config_error(f"VagrantLatentWorker {name}: {problem}")
        super().checkConfig(name, None, **_with_defaults(kwargs, start_timeout))

    @defer.inlineCallbacks
    def reconfigService(  # type: ignore[override]  # each worker has arguments of its own
        self,
        name: str,
        *,
        box: str,
        provider: str = "libvirt",
        box_version: str | None = None,
        memory: int | None = None,
        cpus: int | None = None,
        provider_options: Mapping[str, Option] | None = None,
        directory: str | None = None,
        worker_port: int = 9989,
        start_timeout: int = 900,
        **kwargs: Any,
    ) -> Any:
        """Take the arguments for the next start; a machine that runs is left as it is."""
        self.machine_config = Machine(
            box, provider, box_version, memory, cpus, provider_options or {}
        )
        self.directory = Path(self.master.basedir) / (directory or f"vagrant/{name}")
        self.worker_port = worker_port
        self.start_timeout = start_timeout
        # Nobody can log in before a start has made the password that the machine is told.
        password = self.password or secrets.token_urlsafe(32)
        yield super().reconfigService(name, password, **_with_defaults(kwargs, start_timeout))

    @defer.inlineCallbacks
    def reconfigServiceWithSibling(self, sibling: Any) -> Any:
        """Also keep the new arguments: Buildbot goes on comparing with the first ones."""
        yield super().reconfigServiceWithSibling(sibling)
        self._config_args = sibling._config_args
        self._config_kwargs = sibling._config_kwargs

    def start_instance(self, build: Any) -> defer.Deferred[bool]:
        """Make a machine that no build has touched, and start the worker in it."""
        return defer.ensureDeferred(self._start())

    def stop_instance(self, fast: bool = False) -> defer.Deferred[bool]:
        """Leave nothing: end the connection and destroy the machine."""
        return defer.ensureDeferred(self._stop())

    def check_instance(self) -> tuple[bool, str]:
        """Without its connection the machine is of no use, so need not be waited for."""
        if self._ssh is None or self._ssh.running:
            return True, ""
        return False, " / ".join(self._ssh.tail()[-3:]) or "ssh ended without a word"

    async def _start(self) -> bool:
        try:
            self._write_vagrantfile()
            await self._destroy()
            provider = f"--provider={self.machine_config.provider}"
            await self._vagrant("up", provider, seconds=self.start_timeout)
            access = self.directory / "ssh_config"
            access.write_text(await self._vagrant("ssh-config", seconds=_COMMAND_TIMEOUT))
        except (CommandFailed, OSError) as e:
            # Buildbot calls stop_instance next.
            log.msg(f"VagrantLatentWorker {self.name}: did not start: {e}")
            raise LatentWorkerFailedToSubstantiate(self.name, str(e)) from e
        self.password = secrets.token_urlsafe(32)
        assert self.registration is not None
        await self.registration.update(self, self.master.config)
        tunnel = ("-R", f"127.0.0.1:{self.worker_port}:127.0.0.1:{self.worker_port}")
        self._ssh = process.start(
            self.master.reactor,
            ["ssh", "-F", str(access), *_SSH_OPTIONS, *tunnel, "default", "exec sh -s"],
            env=dict(os.environ),
            seconds=None,
            stdin=self._script(),
        )
        self._ssh.ended.addErrback(lambda _: None)  # stopped by us
        return True

    def _script(self) -> str:
        variables = {
            "BUILDMASTER": "127.0.0.1",
            "BUILDMASTER_PORT": str(self.worker_port),
            "WORKERNAME": str(self.name),
            "WORKERPASS": str(self.password),
        }
        exports = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in variables.items())
        # In braces, so that the shell has read all of it before it starts the worker.
        return f"{{\n{exports}{_START_WORKER}}}\n"

    async def _stop(self) -> bool:
        ssh, self._ssh = self._ssh, None
        if ssh is not None and ssh.running:
            gone: defer.Deferred[None] = defer.Deferred()
            ssh.ended.addBoth(lambda _: gone.callback(None))
            ssh.stop("the worker is stopped")
            await gone
        try:
            await self._destroy()
        except CommandFailed as e:
            # The next start destroys it first, and fails if it cannot.
            log.msg(f"VagrantLatentWorker {self.name}: its machine may be left: {e}")
            return False
        return True

    async def _destroy(self) -> None:
        # Without this folder of Vagrant's there is no machine, and asking takes seconds.
        if (self.directory / ".vagrant").exists():
            await self._vagrant("destroy", "-f", seconds=_COMMAND_TIMEOUT)

    def _write_vagrantfile(self) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Two masters on one host may have workers of one name.
        unique = hashlib.sha256(str(self.directory.resolve()).encode()).hexdigest()[:8]
        text = self.machine_config.render(f"{self.name}-{unique}-", boot_timeout=self.start_timeout)
        new = self.directory / "Vagrantfile.new"
        new.write_text(text)
        new.replace(self.directory / "Vagrantfile")

    async def _vagrant(self, *args: str, seconds: int) -> str:
        """What Vagrant printed. Raises CommandFailed with its last lines."""
        command = process.start(
            self.master.reactor,
            ["vagrant", *args],
            env={**os.environ, "VAGRANT_CHECKPOINT_DISABLE": "1", "VAGRANT_NO_COLOR": "1"},
            cwd=str(self.directory),
            seconds=seconds,
            # Only the access to the machine is read; `up` prints its progress without end.
            stdout=65536 if args[0] == "ssh-config" else 0,
        )
        try:
            status = await command.ended
        except CommandFailed as e:
            raise CommandFailed(_explain(args[0], str(e), command)) from e
        if status:
            raise CommandFailed(_explain(args[0], f"status {status}", command))
        return command.stdout.decode("utf-8", "replace")


def _explain(what: str, why: str, command: process.Command) -> str:
    return " / ".join([f"vagrant {what}: {why}", *command.tail()[-5:]])


def _with_defaults(kwargs: dict[str, Any], start_timeout: int) -> dict[str, Any]:
    """No machine is kept between builds, and none is waited for much longer than it may take."""
    waiting = start_timeout + 2 * _COMMAND_TIMEOUT + _CONNECT_TIMEOUT
    return {"build_wait_timeout": 0, "missing_timeout": waiting, **kwargs}
