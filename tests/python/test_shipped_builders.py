# SPDX-License-Identifier: GPL-2.0-or-later
"""Builders of F-Droid's own description whose machines are no matter, on local workers.

Verification with the real fdroidserver; the stages of its git master with stand-ins for its
commands, which no release has yet; and the locks of those that make the repository.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from gitlab import GitLab
from masters import ROOT, Master, free_ports, put_secrets, wait_for
from other_user import files, readable
from program import PROGRAM, fdroid_bb, generate
from real_machine import IN_CONTAINER, docker
from repositories import Server
from shipped import PUSH, SCRIPT, Source, beside_masters, fdroiddata, polled, site

PASSWORD = "correct horse battery staple"
SUCCESS, WARNINGS, FAILURE, SKIPPED, EXCEPTION, RETRY, CANCELLED = range(7)

# What `fdroid` is asked, on the host and in the container.
STAGES = [
    "destroy",
    "fetch_repo",
    "fetch_srclibs",
    "install_ndk",
    "up",
    "execute_sudo",
    "push",
    "exec",  # the origin of the source
    "exec",
    "prepare_source",
    "exec",  # scans the source
    "exec",  # makes the tarball
    "exec",
    "build_local_run",
    "exec",  # scans the output
    "exec",  # keeps it
    "pull",
    "destroy",
]


class Shipped:
    """A master of F-Droid's description, all workers local, `fdroid` from `programs`."""

    def __init__(
        self,
        folder: Path,
        programs: Path,
        changes: Mapping[str, object],
        name: str = "buildserver",
        *,
        build: str = "whole",
        updates: str = "push",
    ) -> None:
        self.folder = folder
        self.server = Server(folder / "repositories", push=PUSH)
        self.app = Source(self.server, folder, "tiny")
        self.app.release(1, "1.0")
        checkout = folder / "fdroiddata"
        self.data = fdroiddata(self.server, checkout, {self.app: SCRIPT})
        www, pb, submit, www2, pb2 = free_ports(5)
        server = f"http://127.0.0.1:{self.server.port}/"
        lines = {
            "fdroiddata.url": self.data.url,
            "masters.buildserver.url": f"http://127.0.0.1:{www}/",
            "masters.buildserver.web.listen": f"127.0.0.1:{www}",
            "masters.buildserver.worker-listen": f"127.0.0.1:{pb}",
            "masters.buildserver.submit.listen": f"127.0.0.1:{submit}",
            "masters.buildserver.submit.password-file": f"{folder}/sendchange/passwd",
            "masters.checkupdates.url": f"http://127.0.0.1:{www2}/",
            "masters.checkupdates.web.listen": f"127.0.0.1:{www2}",
            "masters.checkupdates.worker-listen": f"127.0.0.1:{pb2}",
            "values.pusher.GIT_CONFIG_KEY_0": f"http.{server}.extraHeader",
            "values.fork": f"{server}fork.git",
            "remotes.schemes": ["http"],
            "remotes.allow-hosts": ["127.0.0.1"],
            **changes,
        }
        text = site(lines, build, updates)
        config = folder / "fdroid-bb.toml"
        config.write_text(text)
        masters = generate(config, checkout, folder / "out")
        basedir = folder / "master"
        secrets = {"web-admin": PASSWORD, "fdroiddata-push": f"Authorization: {PUSH}"}
        put_secrets(basedir, secrets)
        beside_masters(folder, text, self.data)
        search = f"{programs}:{Path(PROGRAM).parent}:{os.environ['PATH']}"
        env = {"PATH": search, "FDROID_STAND_IN": str(folder)}
        path = masters / name / "master.cfg"
        port = {"buildserver": www, "checkupdates": www2}[name]
        self.master = Master(basedir, configfile=path, www_port=port, env=env)
        self.repository = self.master.output / "repository"
        subprocess.run(["git", "clone", "-q", self.data.url, str(self.repository)], check=True)
        config = self.repository / "config.yml"
        config.touch(mode=0o600)

    def press(self, scheduler: str, builder: str, **values: object) -> None:
        """Force a build."""
        who = self.master.login("admin", PASSWORD)
        answer = self.master.force(scheduler, builder, who, **values)
        assert answer.status == 200, answer

    def build(self, builder: str) -> dict[str, Any]:
        """Have version 1 of the app built; the build."""
        before = len(self.master.rest("builds?complete=true")["builds"])
        self.press("force", builder, packageName="org.example.tiny", versionCode=1)

        def done() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = self.master.rest("builds?complete=true&order=buildid")[
                "builds"
            ]
            return found if len(found) > before else []

        return wait_for("the build", done, 120)[-1]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    """With the stages of fdroidserver's git master chosen by their word."""
    folder = tmp_path_factory.mktemp("staged")
    programs = folder / "bin"
    programs.mkdir()
    for name in ("fdroid", "fdroid-bb"):
        shutil.copy(Path(__file__).with_name("stand_in_stages.py"), programs / name)
        (programs / name).chmod(0o755)
    shutil.copy(ROOT / "recipes/fdroid-stages", programs)
    shipped = Shipped(folder, programs, {}, build="stages")
    with shipped.master:
        yield shipped
    shipped.server.close()


def called(shipped: Shipped) -> list[str]:
    """What `fdroid` was asked since the last time."""
    path = shipped.folder / "called"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_stage_by_stage(staged: Shipped) -> None:
    build = staged.build("build")
    assert build["results"] == SUCCESS, staged.master.steps(build)
    assert called(staged) == STAGES
    apk = staged.master.output / "built/org.example.tiny_1/unsigned/org.example.tiny_1.apk"
    assert apk.read_text() == "apk\n"
    assert (staged.master.output / "logs/org.example.tiny_1.log").exists()
    tarball = apk.with_name("org.example.tiny_1_src.tar.gz")
    assert tarball.read_text() == "source"


@pytest.mark.parametrize("published", ["apk\n", "another"])
def test_what_was_published_is_built_again_and_compared(staged: Shipped, published: str) -> None:
    called(staged)
    name = "org.example.tiny_1.apk"
    (staged.repository / "repo").mkdir(exist_ok=True)
    (staged.repository / "repo" / name).write_text(published)
    build = staged.build("verify")
    is_same = published == "apk\n"
    assert build["results"] == (SUCCESS if is_same else FAILURE), staged.master.steps(build)
    # Whatever it found, the machine is gone and the report is kept.
    assert called(staged) == [*STAGES[:-1], "verify", "verified", "destroy"]
    report = json.loads((staged.repository / "unsigned" / f"{name}.json").read_text())
    assert [found["verified"] for found in report.values()] == [is_same]
    shutil.rmtree(staged.repository / "repo")


def test_others_can_read_what_is_made_for_them_and_nothing_else(staged: Shipped) -> None:
    assert staged.build("build")["results"] == SUCCESS
    staged.press("force-repository", "update")
    wait_for("the update and the deploy", lambda: (staged.repository / "repo").exists())
    wait_for("their end", lambda: _idle(staged.master))
    found = readable(staged.folder)
    public = staged.repository.relative_to(staged.folder)
    apk = "built/org.example.tiny_1/unsigned/org.example.tiny_1.apk"
    names = (apk, "logs/org.example.tiny_1.log", "metrics/health.prom")
    made = {f"{public}/repo/index-v1.json", *(f"{public.parent}/{name}" for name in names)}
    assert made <= found
    # It is in the repository, but for the master alone.
    assert files(staged.folder, staged.master.output) - found == {f"{public}/config.yml"}
    private = files(staged.folder, staged.master.basedir)
    assert {"master/state.sqlite", "master/secrets/web-admin", "master/twistd.log"} <= private
    assert not private & found
    called(staged)


@pytest.mark.parametrize("stage", dict.fromkeys(STAGES[:-1]))
def test_the_machine_is_destroyed_whatever_failed_before(staged: Shipped, stage: str) -> None:
    (staged.folder / "fail").write_text(stage)
    build = staged.build("build")
    assert build["results"] == FAILURE
    assert called(staged) == [*STAGES[: STAGES.index(stage) + 1], "destroy"]
    (staged.folder / "fail").unlink()


def test_the_machine_is_destroyed_when_the_build_is_stopped(staged: Shipped) -> None:
    wait = staged.folder / "wait-exec"
    wait.touch()
    staged.press("force", "build", packageName="org.example.tiny", versionCode=1)
    wait_for("the stage", lambda: (staged.folder / "called").exists(), 30)
    wait_for(
        "the stage",
        lambda: "exec" in (staged.folder / "called").read_text().splitlines(),
        60,
    )
    [running] = staged.master.rest("builds?complete=false")["builds"]
    who = staged.master.login("admin", PASSWORD)
    body = '{"jsonrpc": "2.0", "id": 1, "method": "stop", "params": {"reason": "enough"}}'
    headers = {"Content-Type": "application/json", **who}
    staged.master.ask("POST", f"/api/v2/builds/{running['buildid']}", body, headers)

    def done() -> dict[str, Any] | None:
        [build] = staged.master.rest(f"builds/{running['buildid']}")["builds"]
        return build if build["complete"] else None

    build = wait_for("the end", done, 60)
    assert build is not None
    assert build["results"] == CANCELLED
    wait.unlink()
    assert called(staged)[-1] == "destroy"


def test_what_makes_the_repository_takes_turns_and_builds_do_not_wait(staged: Shipped) -> None:
    # `update` holds the repository; a deploy must wait for it, and a build must not.
    wait = staged.folder / "wait-update"
    wait.touch()
    called(staged)
    staged.press("force-repository", "update")
    path = staged.folder / "called"
    wait_for("the update", path.exists, 60)
    staged.press("force-repository", "deploy")
    staged.press("force-repository", "publish")
    build = staged.build("build")
    assert build["results"] == SUCCESS
    assert called(staged) == ["update", *STAGES]
    wait.unlink()
    # `update` and `publish` have builders that come after them.
    wait_for("the others", lambda: _idle(staged.master), 60)
    rest = called(staged)
    assert {"deploy", "publish"} <= set(rest)
    times = []
    for name in ("update", "deploy", "publish"):
        for build in staged.master.builds(name, 1):
            steps = staged.master.steps(build)
            step = steps["fdroid-bb publish" if name == "publish" else f"fdroid {name}"]
            times.append((step["started_at"], step["complete_at"], name))
    times.sort()
    for (_, ended, first), (began, _, second) in itertools.pairwise(times):
        assert began >= ended or {first, second} == {"deploy"}, times


def _idle(master: Master) -> bool:
    waiting = master.rest("buildrequests?complete=false")["buildrequests"]
    return not waiting and not master.rest("builds?complete=false")["builds"]


@pytest.fixture(scope="module")
def verifying(
    tmp_path_factory: pytest.TempPathFactory, android_image: None, fdroidserver: Path
) -> Iterator[Shipped]:
    """With the real fdroidserver, in a container for each build."""
    folder = tmp_path_factory.mktemp("verifying")
    programs = folder / "bin"
    programs.mkdir()
    label = f"fdroid-bb.test={folder.parent.name}-{folder.name}"
    (programs / "fdroid-machine").write_text(IN_CONTAINER.replace("LABEL", label))
    (programs / "fdroid-machine").chmod(0o755)
    (programs / "fdroid-bb").symlink_to(PROGRAM)
    workers = {f"builders.{name}.workers": ["repository"] for name in ("build", "verify")}
    shipped = Shipped(folder, programs, workers)
    with shipped.master:
        yield shipped
    shipped.server.close()
    docker("rm", "--force", *docker("ps", "-aq", "--filter", f"label={label}").split())


def test_what_a_build_gives_is_one_set_and_another_build_replaces_it(verifying: Shipped) -> None:
    built = verifying.master.output / "built/org.example.tiny_1"
    for _ in range(2):
        build = verifying.build("build")
        steps = verifying.master.steps(build)
        said = {name: step["text"][-2000:] for name, step in steps.items()}
        assert build["results"] == SUCCESS, said
        # Nobody has said how long it may take, so the metadata have.
        assert "property `timeout`: 7200" in said["fdroid-machine timeout"]
        assert {str(path.relative_to(built)) for path in built.rglob("*.*")} == {
            "unsigned/org.example.tiny_1.apk",
            "unsigned/org.example.tiny_1_src.tar.gz",
            "repo/org.example.tiny_1.log.gz",
        }
        assert list(built.parent.iterdir()) == [built]
        (built / "unsigned/of.another.build").touch()


def test_the_time_of_a_report_is_kept_to_its_last_digit(tmp_path: Path) -> None:
    # With one that is off by a digit, the same report would count as another.
    report = {
        "local": {"packageName": "org.example", "versionCode": 1, "timestamp": 1796125751.1921659},
        "verified": True,
    }
    (tmp_path / "org.example_1.apk.json").write_text(json.dumps({"1796125751.1921659": report}))
    for _ in range(2):
        fdroid_bb("verified", "--reports", tmp_path, "org.example:1")
    verified = json.loads((tmp_path / "verified.json").read_text())
    assert verified["packages"] == {"org.example": [report]}


def test_a_published_version_is_verified_and_the_report_is_kept(verifying: Shipped) -> None:
    published = verifying.repository / "repo/org.example.tiny_1.apk"
    published.parent.mkdir()
    unsigned = verifying.folder / "unsigned.apk"
    script = verifying.app.folder / "build.py"
    subprocess.run(
        [sys.executable, str(script), str(unsigned)], check=True, cwd=verifying.app.folder
    )
    keystore = verifying.folder / "keystore.p12"
    keytool = "keytool -genkey -alias a -keyalg RSA -keysize 2048 -storetype PKCS12 -dname CN=a"
    more = ["-storepass", "throwaway", "-keystore", str(keystore)]
    subprocess.run([*keytool.split(), *more], check=True, capture_output=True)
    sign = ["apksigner", "sign", "--ks", str(keystore), "--ks-pass", "pass:throwaway"]
    subprocess.run([*sign, "--out", str(published), str(unsigned)], check=True)

    build = verifying.build("verify")
    steps = verifying.master.steps(build)
    assert build["results"] == SUCCESS, {name: step["text"][-2000:] for name, step in steps.items()}
    # Where `fdroid schedule_verify` looks for what need not be verified again.
    report = verifying.repository / "unsigned/org.example.tiny_1.apk.json"
    [result] = json.loads(report.read_text()).values()
    assert result["verified"] is True
    # Together with what other machines have found.
    verified = json.loads((report.parent / "verified.json").read_text())
    assert verified["packages"] == {"org.example.tiny": [result]}

    # One that differs is told, and its report is kept too.
    report.unlink()
    changed = verifying.folder / "changed.apk"
    changed.write_bytes(unsigned.read_bytes())
    with zipfile.ZipFile(changed, "a") as apk:
        apk.writestr("assets/other", "not from this source")
    subprocess.run([*sign, "--out", str(published), str(changed)], check=True)
    build = verifying.build("verify")
    assert build["results"] == FAILURE
    results = json.loads(report.read_text()).values()
    assert any(not result["verified"] for result in results)
    assert json.loads((report.parent / "verified.json").read_text()) == verified


# Checks for updates without a container.
LOCAL = {
    "remove": ["workers.checkupdates.docker"],
    "workers.checkupdates.local": {},
}

# Finds a new version in each run, once the gate is open. Its command line ends with the app.
FINDS = """\
#!/bin/sh
env > "FOLDER/called"
while [ ! -e "FOLDER/gate" ]; do sleep 0.05; done
file=metadata/$4.yml
code=$(($(sed -n 's/^CurrentVersionCode: //p' $file) + 1))
sed -i "s/^CurrentVersion: .*/CurrentVersion: '1.$code'/" $file
sed -i "s/^CurrentVersionCode: .*/CurrentVersionCode: $code/" $file
git commit -qam found
"""


def test_one_refusal_of_the_forge_fails_neither_checkout_nor_push(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "fdroid").write_text(FINDS.replace("FOLDER", str(tmp_path)))
    (programs / "fdroid").chmod(0o755)
    changes = {**LOCAL, "values.again.pause": "1s"}
    shipped = Shipped(tmp_path, programs, changes, "checkupdates")
    busy, name = shipped.server.busy, shipped.data.path.name
    called, gate = tmp_path / "called", tmp_path / "gate"
    with shipped.master as master:
        # The first clones, the second fetches.
        for count in (1, 2):
            busy[name] = 1
            shipped.press("force-checkupdates", "checkupdates", packageName="org.example.tiny")
            wait_for("the checkout", called.exists, 90)
            assert busy[name] == 0
            busy[name] = 1
            gate.touch()
            build = master.builds("org.example.tiny", count, 90)[-1]
            steps = {step: said["text"][-2000:] for step, said in master.steps(build).items()}
            assert build["results"] == SUCCESS, steps
            assert busy[name] == 0
            found = shipped.data.git("show", "master:metadata/org.example.tiny.yml")
            assert f"CurrentVersionCode: {count + 1}" in found
            # Whoever runs code of strangers can push nothing.
            assert PUSH not in called.read_text()
            called.unlink()
            gate.unlink()
    shipped.server.close()


def test_what_is_new_is_pushed_to_the_fork_for_a_merge_request(
    tmp_path: Path, fdroidserver: Path
) -> None:
    changes = {
        **LOCAL,
        "apps.poll-interval": "1s",
        "schedulers.app-source.quiet-time": "1s",
    }
    shipped = Shipped(tmp_path, fdroidserver, changes, "checkupdates", updates="merge-request")
    fork = GitLab(shipped.server, "fork.git", shipped.data)
    with shipped.master as master:
        state = master.basedir / "state.sqlite"
        wait_for("the first poll", lambda: "refs" in polled(state, "org.example.tiny"), 60)
        shipped.app.release(2, "1.1")
        wait_for("the page", lambda: master.rest("builders?name=org.example.tiny")["builders"], 60)
        [build, *_] = master.builds("org.example.tiny", 1, 90)
        steps = {name: step["text"][-2000:] for name, step in master.steps(build).items()}
        assert build["results"] == SUCCESS, steps
        found = readable(tmp_path)
        names = ("checkupdates/org.example.tiny.log", "status/app-sources.json")
        for name in (*names, "metrics/app-sources.prom", "metrics/health.prom"):
            assert str((master.output / name).relative_to(tmp_path)) in found
        assert not files(tmp_path, master.basedir) & found
        pages = f"http://127.0.0.1:{master.www_port}/#/builders/"
    shipped.server.close()
    assert "CurrentVersion: '1.1'" in fork.git(
        "show", "refs/heads/org.example.tiny:metadata/org.example.tiny.yml"
    )
    [merge] = fork.merge_requests
    assert merge["title"] == "bot: Update Tiny to 1.1 (2)"
    assert merge["description"].startswith(f"~org.example.tiny checkupdates-bot run {pages}")
    assert "CurrentVersion: '1.0'" in shipped.data.git(
        "show", "master:metadata/org.example.tiny.yml"
    )
