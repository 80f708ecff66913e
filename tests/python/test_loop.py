# SPDX-License-Identifier: GPL-2.0-or-later
"""F-Droid's own description, whole: from a tag that is pushed to an APK that is deployed.

Two real masters, real git over http, the real fdroidserver, a container for checkupdates and
virtual machines for builds, in which gradle builds a real app. Of the description only addresses,
sizes and intervals are changed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browser import page_text
from conftest import ANDROID_BOX, CHECKUPDATES_IMAGE
from masters import PATIENCE, Master, ended, free_ports, put_secrets, wait_for
from other_user import files, readable
from program import PROGRAM, generate
from repositories import Server
from shipped import GRADLE, PUSH, SCRIPT, Source, beside_masters, fdroiddata, polled, site
from vagrants import destroy, domains

# Docker's default bridge: containers and virtual machines reach this machine there.
BRIDGE = "172.17.0.1"
PASSWORD = "correct horse battery staple"

SUCCESS, _, _, _, _, _, CANCELLED = range(7)

CONFIG_YML = """\
repo_url: https://example.org/fdroid/repo
repo_name: Test
repo_description: Test
repo_keyalias: repokey
keystore: KEYSTORE
keystorepass: throwaway
keypass: throwaway
keydname: CN=test
serverwebroot: WEB
"""


class World:
    """The masters of F-Droid's description, and what is around them."""

    def __init__(self, folder: Path, fdroidserver: Path) -> None:
        self.server = Server(folder / "repositories", address=BRIDGE, push=PUSH)
        self.tiny = Source(self.server, folder, "tiny", app="gradle_app")
        self.slow = Source(self.server, folder, "slow")
        self.tiny.release(1, "1.0")
        self.slow.release(1, "1.0")
        builds = {
            self.tiny: GRADLE,
            self.slow: SCRIPT.replace("python3 build.py app.apk", "sleep 3600"),
        }
        self.data = fdroiddata(self.server, folder / "fdroiddata", builds)
        self.web = folder / "web" / "fdroid"
        self.web.mkdir(parents=True)
        self.password = folder / "fdroid-buildbot-sendchange/passwd"
        names = ("9989", "9990", "9999", "8010", "8011")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        masters = self._generate(folder)
        env = {"PATH": f"{Path(PROGRAM).parent}:{fdroidserver}:{os.environ['PATH']}"}
        for name in ("no_proxy", "NO_PROXY"):
            env[name] = f"127.0.0.1,localhost,{BRIDGE}"
        self.masters = {}
        for name, port, secrets in (
            ("buildserver", "8010", {"web-admin": PASSWORD}),
            (
                "checkupdates",
                "8011",
                {"web-admin": PASSWORD, "fdroiddata-push": f"Authorization: {PUSH}"},
            ),
        ):
            basedir = folder / name
            put_secrets(basedir, secrets)
            config = masters / name / "master.cfg"
            self.masters[name] = Master(
                basedir, configfile=config, www_port=self.ports[port], env=env
            )
        self.build, self.updates = self.masters["buildserver"], self.masters["checkupdates"]
        self.repository = self.build.output / "repository"
        self._make_repository()

    def _generate(self, folder: Path) -> Path:
        ports = {port: f"127.0.0.1:{free}" for port, free in self.ports.items()}
        lines = {
            "fdroiddata.url": self.data.url,
            "values.pusher.GIT_CONFIG_KEY_0": f"http.{self.data.url}.extraHeader",
            "masters.buildserver.url": "http://127.0.0.1:8010/",
            "masters.buildserver.worker-listen": ports["9989"],
            "masters.buildserver.web.listen": ports["8010"],
            "masters.buildserver.submit.listen": ports["9999"],
            "masters.buildserver.submit.password-file": str(self.password),
            "masters.checkupdates.url": "http://127.0.0.1:8011/",
            "masters.checkupdates.worker-listen": f"{BRIDGE}:{self.ports['9990']}",
            "masters.checkupdates.web.listen": ports["8011"],
            "remotes.schemes": ["http"],
            "remotes.allow-hosts": [BRIDGE],
            "apps.poll-interval": "2s",
            "schedulers.app-source.quiet-time": "1s",
            "workers.buildserver.vagrant.box": ANDROID_BOX,
            "workers.buildserver.vagrant.memory": "1GiB",
            "workers.buildserver.vagrant.cpus": 1,
            "workers.checkupdates.docker.image": CHECKUPDATES_IMAGE,
            "workers.checkupdates.docker.memory": "1GiB",
        }
        config = folder / "fdroid-bb.toml"
        config.write_text(site(lines))
        beside_masters(folder, config.read_text(), self.data)
        return generate(config, folder / "fdroiddata", folder / "out")

    def _make_repository(self) -> None:
        subprocess.run(
            ["git", "clone", "-q", self.data.url, str(self.repository)],
            check=True,
            timeout=PATIENCE,
        )
        config = self.repository / "config.yml"
        # Where nobody else can read it.
        keystore = self.build.basedir / "keystore.p12"
        text = CONFIG_YML.replace("WEB", str(self.web)).replace("KEYSTORE", str(keystore))
        config.write_text(text)
        config.chmod(0o600)
        (self.repository / "unsigned").mkdir()
        (self.repository / "repo").mkdir()
        keytool = f"keytool -genkey -keystore {keystore} -alias repokey -keyalg RSA -keysize 2048"
        more = "-validity 1000 -storetype PKCS12 -storepass throwaway -dname CN=test"
        subprocess.run(
            [*keytool.split(), *more.split()], check=True, cwd=self.repository, capture_output=True
        )

    def submit(self, package: str, code: int) -> None:
        """Ask for a build, as fdroidserver does."""
        password = self.password.read_text().strip()
        commit = self.data.git("rev-parse", "master")
        command = [
            str(Path(sys.executable).parent / "buildbot"),
            "sendchange",
            f"--master=127.0.0.1:{self.ports['9999']}",
            f"--auth=fdroid:{password}",
            "--branch=master",
            "--repository='https://gitlab.com/fdroid/fdroiddata'",
            # As `git describe --always` has it.
            f"--revision={commit[:8]}",
            "--category=build",
            f"--who={package}:{code}",
            f"--project={package}",
            f"--property=versionCode:{code}",
            f"--property=packageName:{package}",
            "--property=timeout:7200",
            f"metadata/{package}.yml",
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)

    def press(self, scheduler: str, builder: str) -> None:
        """Force a build."""
        who = self.build.login("admin", PASSWORD)
        answer = self.build.force(scheduler, builder, who)
        assert answer.status == 200, answer

    def close(self) -> None:
        """Stop everything, and leave nothing."""
        for master in self.masters.values():
            master.stop()
        for machine in self.build.basedir.glob("vagrant/*"):
            if (machine / ".vagrant").exists():
                destroy(machine)
        self.server.close()


def running(master: Master, package: str, step: str) -> int | None:
    """The build of an app that is in a step; its id."""
    for build in master.rest("builds?complete=false&property=*")["builds"]:
        if build["properties"].get("packageName", [""])[0] == package:
            steps = master.rest(f"builds/{build['buildid']}/steps")["steps"]
            if any(s["name"] == step and s["started_at"] for s in steps):
                return int(build["buildid"])
    return None


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory,
    fdroidserver: Path,
    docker_engine: None,
    vagrant_libvirt: None,
) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("loop"), fdroidserver)
    try:
        for master in world.masters.values():
            master.start()
        yield world
    finally:
        world.close()


def good(master: Master, builder: str, seconds: float) -> dict[str, Any]:
    """The first build on a page that is not tried again, complete and well."""
    # The page of an app is there from its first build on.
    wait_for("the page", lambda: master.rest(f"builders?name={builder}")["builders"], seconds)
    build = ended(lambda: master.builds(builder, 1, seconds), seconds)
    said = {name: step["text"][-3000:] for name, step in master.steps(build).items()}
    assert build["results"] == SUCCESS, said
    return build


def test_from_a_pushed_tag_to_a_deployed_apk(world: World, chromium: str) -> None:
    times: dict[str, float] = {}
    began = time.monotonic()

    def took(what: str) -> None:
        times[what] = time.monotonic() - began

    # A build that goes on all the while.
    world.submit("org.example.slow", 1)
    # The first poll only records.
    listed = world.updates.output / "status/app-sources.json"
    wait_for("the first polls", listed.exists, 90)
    state = world.updates.basedir / "state.sqlite"
    wait_for("the first polls", lambda: "refs" in polled(state, "org.example.tiny"), 30)

    began = time.monotonic()
    world.tiny.release(2, "1.1")
    build = good(world.updates, "org.example.tiny", 180)
    took("checkupdates has pushed the new version")
    assert build["properties"]["buildername"][0] == "checkupdates"
    log = (world.updates.output / "checkupdates/org.example.tiny.log").read_text()
    assert "Commiting update for metadata/org.example.tiny.yml" in log
    text = world.data.git("show", "master:metadata/org.example.tiny.yml")
    released = world.tiny.repository.git("rev-parse", "v1.1")
    assert f"versionCode: 2\n    commit: {released}\n" in text
    assert "CurrentVersion: '1.1'\n" in text
    said = world.data.git("log", "-1", "--format=%an: %s", "master")
    assert said == "F-Droid checkupdates: Update Tiny to 1.1 (2)"

    world.submit("org.example.tiny", 2)
    # Gradle takes minutes in an emulated machine.
    build = good(world.build, "org.example.tiny", 3 * PATIENCE)
    took("the APK is built")
    machine = world.build.steps(build)["worker_preparation"]["text"]
    assert "a new machine" in machine or "as its snapshot was" in machine
    assert "BUILD SUCCESSFUL" in (world.build.output / "logs/org.example.tiny_2.log").read_text()
    built = world.build.output / "built/org.example.tiny_2"
    assert {str(path.relative_to(built)) for path in built.rglob("*.*")} == {
        "unsigned/org.example.tiny_2.apk",
        "unsigned/org.example.tiny_2_src.tar.gz",
        "repo/org.example.tiny_2.log.gz",
    }
    with zipfile.ZipFile(built / "unsigned/org.example.tiny_2.apk") as apk:
        assert "classes.dex" in apk.namelist()

    # The other build still runs, and what makes the repository does not wait for it.
    wait_for(
        "the slow build", lambda: running(world.build, "org.example.slow", "fdroid build"), 300
    )
    world.press("force-repository", "publish")
    for builder in ("publish", "update", "deploy"):
        good(world.build, builder, 120)
        took(f"{builder} is done")
    slow = running(world.build, "org.example.slow", "fdroid build")
    assert slow is not None
    assert not built.exists()
    index = json.loads((world.web / "repo/index-v2.json").read_text())
    versions = index["packages"]["org.example.tiny"]["versions"].values()
    assert [version["manifest"]["versionCode"] for version in versions] == [2]
    deployed = world.web / "repo/org.example.tiny_2.apk"
    subprocess.run(["apksigner", "verify", str(deployed)], check=True, timeout=PATIENCE)
    assert (world.web / "repo/org.example.tiny_2_src.tar.gz").exists()
    assert (world.web / "repo/org.example.tiny_2.log.gz").exists()
    folder = world.build.basedir.parent
    found = readable(folder)
    assert files(folder, world.web) <= found
    private = files(folder, world.repository) - found
    assert private == {str((world.repository / "config.yml").relative_to(folder))}
    for master in world.masters.values():
        assert not files(folder, master.basedir) & found

    page = world.build.builderid("org.example.tiny")
    url = f"http://127.0.0.1:{world.build.www_port}/#/builders/{page}"
    shown = page_text(chromium, url)
    assert "org.example.tiny" in shown
    assert "f-droid.org" in shown
    took("the page is looked at")

    # Stopped, the last build ends, and its machine with it.
    who = world.build.login("admin", PASSWORD)
    body = '{"jsonrpc": "2.0", "id": 1, "method": "stop", "params": {"reason": "enough"}}'
    headers = {"Content-Type": "application/json", **who}
    assert world.build.ask("POST", f"/api/v2/builds/{slow}", body, headers).status == 200
    build = world.build.builds("org.example.slow", 1, 120)[-1]
    assert build["results"] == CANCELLED
    wait_for("the machines to stop", lambda: not _machines(world), 120)
    print(*(f"{seconds:6.1f} s  {what}" for what, seconds in times.items()), sep="\n")


def _machines(world: World) -> set[str]:
    """Those that run."""
    return {name for name in domains("--state-running") if "buildserver-" in name}
