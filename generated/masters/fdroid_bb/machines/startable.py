# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether what a latent worker is started from is there: a box, an image, a daemon.

What Buildbot lacked: it finds out when it starts the worker for a build, and tries for ever.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from buildbot.worker.docker import DockerLatentWorker
from buildbot.worker.libvirt import LibVirtWorker
from twisted.internet import defer, threads
from twisted.python.failure import Failure

from ..common.process import describe, printable
from .engines import ContainerWorker, Tls, client
from .vagrant import VagrantLatentWorker
from .vagrant_machine import box_folder

# Seconds for each question to a daemon, and for all that is waited for.
_TIMEOUT = 10
_LIMIT = 30.0

_ASK_LIBVIRT = "import libvirt, sys; libvirt.openReadOnly(sys.argv[1]).close()"


class Image(NamedTuple):
    """Of a Docker engine; None if it is pulled from elsewhere."""

    engine: str
    image: str | None
    tls: Tls | None = None


class Box(NamedTuple):
    """Of Vagrant."""

    box: str
    provider: str
    version: str | None
    # Of libvirt, where the machine is one of libvirt's.
    uri: str | None


class Disk(NamedTuple):
    """The base image of a libvirt domain."""

    uri: str
    base_image: str | None


Need = Image | Box | Disk


def blocked(master: Any) -> defer.Deferred[list[tuple[str, str]]]:
    """The builders that have no worker which can be started, each with what to say of it.

    Begins at once, never fails, and has an end to its time.
    """
    needed = {name: needs(worker) for name, worker in master.workers.workers.items()}
    looked = {
        need: in_thread(master, problem, need) for need in set(needed.values()) if need is not None
    }
    return defer.ensureDeferred(_blocked(master, needed, looked))


async def _blocked(
    master: Any, needed: dict[str, Need | None], looked: dict[Need, defer.Deferred[Any]]
) -> list[tuple[str, str]]:
    whys = {need: await why for need, why in looked.items()}
    builders = []
    for builder in master.config.builders:
        wanted = [needed[name] for name in builder.workernames if name in needed]
        found = [None if need is None else whys[need] for need in wanted]
        said = {why for why in found if why is not None}
        if None not in found:
            why = "; ".join(sorted(said)) or "none is configured"
            says = f"the builder `{builder.name}` has no worker that can be started: {why}"
            builders.append((builder.name, says))
    return builders


def in_thread(master: Any, work: Callable[..., Any], *args: Any) -> defer.Deferred[Any]:
    """What `work` gives, or in words why it does not. Begins at once."""

    def why(failure: Failure) -> str:
        return describe(failure.value)

    done: defer.Deferred[Any] = threads.deferToThread(work, *args)
    return done.addTimeout(_LIMIT, master.reactor).addErrback(why)


def needs(worker: Any) -> Need | None:
    """What must be there before the worker can be started; None if nothing can be said."""
    if isinstance(worker, VagrantLatentWorker):
        made = worker.description
        return Box(made.box, made.provider, made.box_version, made.libvirt_uri)
    if isinstance(worker, LibVirtWorker):
        return Disk(worker.uri, worker.base_image)
    if isinstance(worker, DockerLatentWorker) and isinstance(worker.docker_host, str):
        # An image may depend on the build.
        known = isinstance(worker.image, str) and not (worker.autopull or worker.dockerfile)
        tls = worker.tls if isinstance(worker, ContainerWorker) else None
        return Image(worker.docker_host, worker.image if known else None, tls)
    return None


def problem(need: Need) -> str | None:
    """Why no worker can be started from this. Blocks, with an end to its time."""
    match need:
        case Image():
            return _of_image(need)
        case Box():
            return _of_box(need)
        case Disk():
            return _of_disk(need)


def _of_image(need: Image) -> str | None:
    # Only there where Docker workers are.
    from docker.errors import DockerException

    try:
        asked = client(need.engine, need.tls, timeout=_TIMEOUT)
        try:
            images = asked.images()
        finally:
            asked.close()
    except (DockerException, OSError) as e:
        return f"no Docker engine answers at `{need.engine}`: {printable(str(e))}"
    if need.image is None:
        return None
    # As Buildbot's worker does.
    tags = [tag for image in images for tag in image["RepoTags"] or []]
    if need.image in tags or any(tag.startswith(f"{need.image}:") for tag in tags):
        return None
    return f"the Docker engine at `{need.engine}` has no image `{need.image}`"


def _of_box(need: Box) -> str | None:
    if shutil.which("vagrant") is None:
        return "there is no `vagrant` in the master's PATH"
    if need.uri is not None:
        if shutil.which("virsh") is None:
            return "there is no `virsh` in the master's PATH"
        if why := _of_libvirt(["virsh", "-c", need.uri, "uri"], need.uri):
            return why
    # A name with a slash, or an address, is one that Vagrant can fetch.
    if "/" in need.box:
        return None
    exact = need.version if re.fullmatch(r"[0-9A-Za-z.]+", need.version or "") else "*"
    # Below the version there is a folder for the provider or, with a newer Vagrant, for the
    # architecture, and below that the provider's.
    folder = box_folder(need.box)
    found = [*folder.glob(f"{exact}/*/metadata.json"), *folder.glob(f"{exact}/*/*/metadata.json")]
    family = need.provider.partition("_")[0]
    if any(path.parent.name.partition("_")[0] == family for path in found):
        return None
    version = f" in version {need.version}" if exact != "*" else ""
    return f"Vagrant has no box `{need.box}`{version} for {need.provider}"


def _of_disk(need: Disk) -> str | None:
    # A disk of another host cannot be looked at.
    is_here = not urlsplit(need.uri).netloc
    if need.base_image is not None and is_here and not Path(need.base_image).exists():
        return f"there is no base image `{need.base_image}`"
    # In a process of its own, which can be ended.
    return _of_libvirt([sys.executable, "-c", _ASK_LIBVIRT, need.uri], need.uri)


def _of_libvirt(ask: list[str], uri: str) -> str | None:
    try:
        done = subprocess.run(ask, capture_output=True, text=True, timeout=_TIMEOUT)
    except (subprocess.TimeoutExpired, OSError) as e:
        return f"libvirt does not answer at `{uri}`: {printable(str(e))}"
    if done.returncode == 0:
        return None
    said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
    return f"libvirt does not answer at `{uri}`: {printable(said)}"
