# SPDX-License-Identifier: GPL-2.0-or-later
"""Latent workers in virtual machines that Vagrant makes, a fresh one for each build.

What Buildbot lacked: it starts workers in clouds, in Docker and in libvirt domains that someone
has prepared, but knows no Vagrant, whose boxes F-Droid's build server is shipped as.
"""

from __future__ import annotations

import io
import os
import re
import secrets
import shlex
import tarfile
from pathlib import Path
from typing import Any
from weakref import WeakSet

from buildbot.config.errors import error as config_error
from buildbot.interfaces import (
    LatentWorkerFailedToSubstantiate,
    LatentWorkerSubstantiatiationCancelled,
)
from buildbot.worker.latent import AbstractLatentWorker, States
from twisted.internet import defer, threads
from twisted.python import log
from twisted.python.failure import Failure

from ..common import process
from ..common.process import CommandFailed
from .vagrant_machine import SSH_OPTIONS, Interrupted, Say, VagrantMachine
from .vagrantfile import Description

# Machines of this master that start at once: each takes a disk's and a processor's whole time.
STARTS_AT_ONCE = 2
_starts = defer.DeferredSemaphore(STARTS_AT_ONCE)

# Seconds for putting a worker into a box that has none.
_PREPARE_TIMEOUT = 600

# In the master's own directory.
_FOLDER = "vagrant"

# Where a worker is that the box did not bring, in the machine.
_OWN_WORKER = "$HOME/.buildbot-worker"

_HAS_WORKER = "command -v bbworker || command -v buildbot-worker"

# Only the wheels that came along are looked at, so that nothing is fetched.
_INSTALL_WORKER = f"""\
set -e
wheels=$(mktemp -d)
tar -x -C "$wheels"
PYTHONPATH=$(echo "$wheels"/pip-*.whl) python3 -m pip install --quiet --no-index \\
    --find-links "$wheels" --target "{_OWN_WORKER}" buildbot-worker
rm -rf "$wheels"
"""

# Run by the machine's shell, which has the variables by then. A box brings either `bbworker`,
# which reads them, or the command of Buildbot's own package.
_START_WORKER = f"""
if command -v bbworker >/dev/null; then exec bbworker; fi
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
if command -v buildbot-worker >/dev/null; then exec buildbot-worker start --nodaemon .; fi
# Not by PYTHONPATH, which the builds would inherit.
exec python3 -c '
import sys
sys.path.insert(0, sys.argv[1])
from twisted.scripts.twistd import run
sys.argv[1:] = ["--pidfile=", "--nodaemon", "--no_save", "--python=buildbot.tac"]
run()
' "{_OWN_WORKER}"
"""


class VagrantLatentWorker(AbstractLatentWorker):
    """A worker in a machine of `box`, which each build finds untouched.

    Between builds the machine is restored from a snapshot of its first boot; with `snapshot`
    False, or where the provider has none, it is destroyed and made anew. The machine is in
    `vagrant/NAME` of the master's directory.

    The master logs into it by ssh and takes its own `worker_port` along, which can therefore
    listen on loopback only. The password is new for each start and goes through ssh's standard
    input: no file and no process list of the master's host shows it. A box without
    buildbot-worker gets one from `worker_wheels`, a folder of the master with the wheels of
    buildbot-worker, all it needs, and pip.

    `memory` is in MiB. `missing_timeout` is for all that happens between the start of a machine
    and its first word to the master; `build_wait_timeout` is 0 unless told otherwise: a machine
    that is kept is one that the next build does not find untouched.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._ssh: process.Command | None = None
        self._machine: VagrantMachine | None = None
        self._queued: defer.Deferred[Any] | None = None
        # The log `machine` of the build that it starts for.
        self._build_log: Any = None
        super().__init__(*args, **kwargs)

    def checkConfig(  # type: ignore[override]  # each worker has arguments of its own
        self,
        name: str,
        *,
        worker_port: int = 9989,
        worker_wheels: str | None = None,
        **kwargs: Any,
    ) -> None:
        """Refuse now what Vagrant would refuse at the first build."""
        description, others = _split(kwargs)
        problems = list(description.problems())
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name, re.ASCII):
            problems.append("its name is no name for a directory")
        if not 0 < worker_port < 65536:
            problems.append(f"worker_port is no port: {worker_port}")
        for problem in problems:
            config_error(f"VagrantLatentWorker {name}: {problem}")
        super().checkConfig(name, None, **others)

    @defer.inlineCallbacks
    def reconfigService(  # type: ignore[override]  # each worker has arguments of its own
        self,
        name: str,
        *,
        worker_port: int = 9989,
        worker_wheels: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """Take the arguments for the next start; a machine that runs is left as it is."""
        self._description, others = _split(kwargs)
        self._worker_port = worker_port
        self._worker_wheels = worker_wheels
        # Nobody can log in before a start has made the password that the machine is told.
        password = self.password or secrets.token_urlsafe(32)
        yield super().reconfigService(name, password, **others)

    @defer.inlineCallbacks
    def reconfigServiceWithSibling(self, sibling: Any) -> Any:
        """Also keep the new arguments: Buildbot goes on comparing with the first ones."""
        yield super().reconfigServiceWithSibling(sibling)
        self._config_args = sibling._config_args
        self._config_kwargs = sibling._config_kwargs

    @defer.inlineCallbacks
    def startService(self) -> Any:
        """Start, and clean up first what a master that was killed has left."""
        folder = Path(self.master.basedir, _FOLDER)
        self._machine = VagrantMachine(self.master.reactor, folder / str(self.name))
        yield super().startService()
        if self._machine.used:
            self._tidy(self._machine.stop(self._log))
        for path in _abandoned(self.master, folder):
            log.msg(f"VagrantLatentWorker: {path.name} is no worker any more")
            self._tidy(VagrantMachine(self.master.reactor, path).remove(self._log))

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        """Stop without waiting for a start under way. Who is no worker any more has no machine."""
        self._interrupt("the worker is stopped")
        yield super().stopService()
        if self._machine is not None and self.name not in _configured(self.master):
            self._tidy(self._machine.remove(self._log))
        yield self._deferwaiter.wait()

    @property
    def description(self) -> Description:
        """What its next machine is made from."""
        return self._description

    def _tidy(self, work: Any) -> None:
        done = self._start_stop_lock.run(lambda: defer.ensureDeferred(work))
        done.addErrback(lambda failure: self._log(f"its machine may be left: {failure.value}"))
        self._deferwaiter.add(done)

    def _log(self, text: str) -> None:
        log.msg(f"VagrantLatentWorker {self.name}: {text}")

    def insubstantiate(self, fast: bool = False, force_substantiation_build: Any = None) -> Any:
        """Also give up a start under way: Buildbot would wait for it, and then stop it."""
        if self.state == States.SUBSTANTIATING_STARTING:
            self._interrupt("no longer wanted")
        return super().insubstantiate(fast, force_substantiation_build)

    def _interrupt(self, why: str) -> None:
        if self._queued is not None:
            self._queued.cancel()
        elif self._machine is not None:
            self._machine.interrupt(why)

    def _missing_timer_fired(self) -> Any:
        """As Buildbot's, with the words of what took so long."""
        self.missing_timer = None
        doing = self._machine.doing if self._machine is not None else ""
        if not doing and self._ssh is not None:
            doing = " / ".join(["waiting for the worker to connect", *self._ssh.tail()[-3:]])
        why = f"not ready after {self.missing_timeout:g} seconds: {doing or 'starting'}"
        self._say(why)
        if self._machine is not None:
            self._machine.interrupt(why, too_slow=True)
        return self._substantiation_failed(
            Failure(LatentWorkerFailedToSubstantiate(self.name, why))
        )

    def start_instance(self, build: Any) -> defer.Deferred[bool]:
        """Make a machine that no build has touched, and start the worker in it."""
        return defer.ensureDeferred(self._start(build))

    def stop_instance(self, fast: bool = False) -> defer.Deferred[bool]:
        """Leave nothing: end the connection, and reset or destroy the machine."""
        return defer.ensureDeferred(self._stop())

    def check_instance(self) -> Any:
        """Without its connection the machine is of no use, so need not be waited for."""
        if self._ssh is None or self._ssh.running:
            return True, ""
        said = " / ".join([f"status {self._ssh.status}", *self._ssh.tail()[-3:]])
        why = f"the connection to the machine ended: ssh: {said}"
        self._say(why)
        # Buildbot's own words of this come later, and the log must be complete by then.
        return self._finish_log().addCallback(lambda _: (False, why))

    @defer.inlineCallbacks
    def attached(self, conn: Any) -> Any:
        """Its worker has connected."""
        yield super().attached(conn)
        yield self._finish_log()

    def _say(self, text: str) -> None:
        self._log(text)
        if self._build_log is not None:
            self._build_log.addStdout(f"{text}\n")

    def _finish_log(self) -> defer.Deferred[None]:
        build_log, self._build_log = self._build_log, None
        return defer.succeed(None) if build_log is None else build_log.finish()

    async def _start(self, build: Any) -> bool:
        # The step that Buildbot shows while the worker is prepared has a log for failures only.
        self._build_log = await build._preparation_step.addLog("machine")
        began = self.master.reactor.seconds()
        try:
            await self._wait_for_turn(self._say)
            try:
                access = await self._up(self._say)
            finally:
                _starts.release()
            await self._connect(access)
        except (CommandFailed, OSError) as e:
            # Buildbot calls stop_instance next.
            self._say(f"did not start: {e}")
            if isinstance(e, Interrupted):
                raise LatentWorkerSubstantiatiationCancelled from e
            raise LatentWorkerFailedToSubstantiate(self.name, str(e)) from e
        finally:
            self._say(f"{self.master.reactor.seconds() - began:.1f} s in all")
        return True

    async def _wait_for_turn(self, say: Say) -> None:
        """Raises Interrupted when the build is no longer wanted."""
        self._queued = _starts.acquire()
        if not self._queued.called:
            say(f"waits: {STARTS_AT_ONCE} others start")
            self.stopMissingTimer()
        try:
            await self._queued
        except defer.CancelledError as e:
            raise Interrupted("no longer wanted") from e
        finally:
            self._queued = None
        # The machine's time counts from here.
        self.startMissingTimer()

    async def _up(self, say: Say) -> Path:
        assert self._machine is not None

        async def prepare(access: Path) -> None:
            await self._prepare(access, say)

        # Its own limit is Buildbot's, which says the same a moment earlier.
        seconds = int(self.missing_timeout or 0) or 3600
        return await self._machine.start(self._description, seconds, say, prepare)

    async def _prepare(self, access: Path, say: Say) -> None:
        """Put a worker into a new machine, unless the box brought one."""
        assert self._machine is not None
        status, _ = await self._machine.inside(access, _HAS_WORKER, _PREPARE_TIMEOUT)
        if status == 0:
            return
        if self._worker_wheels is None:
            raise CommandFailed(
                "the box has neither bbworker nor buildbot-worker: "
                "put one into it, or give worker_wheels"
            )
        began = self.master.reactor.seconds()
        wheels = await threads.deferToThread(_pack, Path(self._worker_wheels))
        status, words = await self._machine.inside(
            access, _INSTALL_WORKER, _PREPARE_TIMEOUT, stdin=wheels
        )
        if status:
            said = " / ".join([f"status {status}", *words[-5:]])
            raise CommandFailed(f"buildbot-worker could not be installed: {said}")
        say(f"installed buildbot-worker: {self.master.reactor.seconds() - began:.1f} s")

    async def _connect(self, access: Path) -> None:
        self.password = secrets.token_urlsafe(32)
        assert self.registration is not None
        await self.registration.update(self, self.master.config)
        tunnel = ("-R", f"127.0.0.1:{self._worker_port}:127.0.0.1:{self._worker_port}")
        self._ssh = process.start(
            self.master.reactor,
            ["ssh", "-F", str(access), *SSH_OPTIONS, *tunnel, "default", "exec sh -s"],
            env=dict(os.environ),
            seconds=None,
            stdin=self._script().encode(),
        )
        self._ssh.ended.addErrback(lambda _: None)  # stopped by us

    def _script(self) -> str:
        variables = {
            "BUILDMASTER": "127.0.0.1",
            "BUILDMASTER_PORT": str(self._worker_port),
            "WORKERNAME": str(self.name),
            "WORKERPASS": str(self.password),
        }
        exports = "".join(f"export {k}={shlex.quote(v)}\n" for k, v in variables.items())
        # In braces, so that the shell has read all of it before it starts the worker.
        return f"{{\n{exports}{_START_WORKER}}}\n"

    async def _stop(self) -> bool:
        assert self._machine is not None
        await self._finish_log()
        ssh, self._ssh = self._ssh, None
        if ssh is not None and not ssh.running:
            self._log(" / ".join([f"ssh had ended: status {ssh.status}", *ssh.tail()[-3:]]))
        if ssh is not None and ssh.running:
            gone: defer.Deferred[None] = defer.Deferred()
            ssh.ended.addBoth(lambda _: gone.callback(None))
            ssh.stop("the worker is stopped")
            await gone
        try:
            await self._machine.stop(self._log)
        except (CommandFailed, OSError) as e:
            # The next start makes it clean first, and fails if it cannot.
            self._log(f"its machine may be left: {e}")
            return False
        return True


def _split(kwargs: dict[str, Any]) -> tuple[Description, dict[str, Any]]:
    """What is for the machine, and what for Buildbot's worker."""
    names = Description.__dataclass_fields__
    description = Description(**{k: v for k, v in kwargs.items() if k in names})
    others = {k: v for k, v in kwargs.items() if k not in names}
    # Two builds at once would share a machine.
    return description, {"build_wait_timeout": 0, **others, "max_builds": 1}


def _configured(master: Any) -> set[str]:
    workers = master.config.workers
    return {str(worker.name) for worker in workers if isinstance(worker, VagrantLatentWorker)}


_looked_after: WeakSet[Any] = WeakSet()


def _abandoned(master: Any, folder: Path) -> list[Path]:
    """Machines of workers that were taken away while no master ran; told once, at its start."""
    if master in _looked_after:
        return []
    _looked_after.add(master)
    names = _configured(master)
    return [p.parent for p in folder.glob("*/state.json") if p.parent.name not in names]


def _pack(folder: Path) -> bytes:
    """The wheels of a folder, as a tar file. Raises OSError."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for path in sorted(folder.glob("*.whl")):
            tar.add(path, arcname=path.name)
    return packed.getvalue()
