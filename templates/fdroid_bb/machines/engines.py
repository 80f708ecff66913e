# SPDX-License-Identifier: GPL-2.0-or-later
"""Workers in containers, also of Docker engines on other machines.

What Buildbot lacked: each container of a worker has the password of the one before it, which ran
strangers' code. For TLS it wants an object, which is another one after each reconfig and reads its
files while the configuration is checked.
"""

from __future__ import annotations

import secrets
from typing import Any

from buildbot.worker.docker import DockerLatentWorker
from twisted.internet import defer

# The files of the authority's certificate, one's own, and its key.
Tls = tuple[str, str, str]


def client(engine: str, tls: Tls | None, **kwargs: Any) -> Any:
    """A client of an engine. Blocks; DockerException or OSError if it cannot be spoken to."""
    # Only there where Docker workers are.
    from docker.api.client import APIClient
    from docker.tls import TLSConfig

    if tls is not None:
        ca, cert, key = tls
        kwargs["tls"] = TLSConfig(client_cert=(cert, key), ca_cert=ca, verify=True)
    return APIClient(base_url=engine, **kwargs)


class ContainerWorker(DockerLatentWorker):
    """As Buildbot's, with a password for each start, and an engine that may be asked over `tls`."""

    tls: Tls | None = None

    def checkConfig(self, *args: Any, tls: Tls | None = None, **kwargs: Any) -> Any:
        """As Buildbot's."""
        return super().checkConfig(*args, **kwargs)

    @defer.inlineCallbacks
    def reconfigService(self, *args: Any, tls: Tls | None = None, **kwargs: Any) -> Any:
        """As Buildbot's."""
        yield super().reconfigService(*args, **kwargs)
        self.tls = tls

    def _getDockerClient(self, client_args: dict[str, Any]) -> Any:
        args = dict(client_args)
        return client(args.pop("base_url"), self.tls, **args)

    @defer.inlineCallbacks
    def start_instance(self, build: Any) -> Any:
        """As Buildbot's. Nobody else can log in as this worker from now on."""
        self.password = secrets.token_urlsafe(32)
        assert self.registration is not None
        yield self.registration.update(self, self.master.config)
        return (yield super().start_instance(build))
