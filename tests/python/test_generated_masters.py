# SPDX-License-Identifier: GPL-2.0-or-later
"""F-Droid's own two masters, as fdroid-bb.toml describes them, in real Buildbots."""

from __future__ import annotations

import ast
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from masters import PATIENCE, ROOT, Master, wait_for
from program import apps, fdroid_bb, generate, generated_master

CONFIG = ROOT / "fdroid-bb.toml"

# Where the workers' port of `checkupdates` is: Docker's bridge.
BRIDGE = "172.17.0.1"

SECRETS = {"web-admin": "pass of admin", "fdroiddata-push": "header of pusher"}

# What the shipped description says, of a machine's one master.
PASSWORD = Path("/run/fdroid-bb/passwd")

# In the master's buildbot.tac: writes a line to the log whenever a poller starts, stops or takes
# arguments. fdroid_bb is then already imported when master.cfg asks for it.
SPY = """
import sys
sys.path.append({masters!r})
from twisted.python import log as _log
from fdroid_bb import AppGitPoller
from fdroid_bb.polling.other_pollers import AppHgPoller, AppSvnPoller

def _spy(cls, method):
    original = getattr(cls, method)
    def noted(self, *args, **kwargs):
        _log.msg(f"SPY {{method}} {{self.name}} {{kwargs.get('tags')!r}}")
        return original(self, *args, **kwargs)
    setattr(cls, method, noted)

for cls in (AppGitPoller, AppHgPoller, AppSvnPoller):
    for method in ("startService", "stopService", "reconfigService"):
        _spy(cls, method)
"""


def polled(masters: Path) -> dict[str, str]:
    """The apps in pollers.py, each with the function that makes its poller."""
    tree = ast.parse((masters / "checkupdates/pollers.py").read_text())
    assigned = [node for node in tree.body if isinstance(node, ast.Assign)]
    calls = next(node.value for node in assigned if ast.unparse(node.targets[0]) == "POLLERS")
    assert isinstance(calls, ast.List)
    found = []
    for call in calls.elts:
        assert isinstance(call, ast.Call)
        found.append((ast.literal_eval(call.args[0]), ast.unparse(call.func)))
    assert len(dict(found)) == len(found), "an application id stands there twice"
    return dict(found)


def spied(text: str) -> list[tuple[str, ...]]:
    """What happened to pollers, in a stretch of the log: method, name and tag pattern."""
    return re.findall(r"SPY (\w+) (\S+) (.*)", text)


class Corpus:
    """The `checkupdates` master on a copy of the real metadata that tests may change."""

    def __init__(self, folder: Path, checkout: Path) -> None:
        self.data = folder / "fdroiddata"
        for part in ("metadata", "srclibs"):
            (self.data / part).mkdir(parents=True)
            for path in (checkout / part).glob("*.yml"):
                shutil.copy(path, self.data / part)
        self.out = folder / "generated"
        self.config = folder / "fdroid-bb.toml"
        # Its image is not there: nobody's turn comes while this takes long.
        never = 'apps.check-interval = "3650d"\napps.http-check-interval = "3650d"\n'
        self.config.write_text(CONFIG.read_text() + never)
        self.masters = generate(self.config, self.data, self.out)
        basedir = folder / "checkupdates"
        self.master = generated_master(
            self.masters, "checkupdates", basedir, SECRETS, addresses=[BRIDGE]
        )
        with (basedir / "buildbot.tac").open("a") as tac:
            tac.write(SPY.format(masters=str(self.masters)))
        self.seconds: dict[str, float] = {}

    def metadata(self, app: str) -> Path:
        """The file of an app."""
        return self.data / f"metadata/{app}.yml"

    def claimed(self) -> int:
        """How many change sources the master has claimed, from its database: REST takes seconds."""
        with closing(sqlite3.connect(self.master.basedir / "state.sqlite")) as db:
            return int(db.execute("SELECT count(*) FROM changesource_masters").fetchone()[0])

    def sources(self) -> set[str]:
        """The change sources this master has claimed, as its REST API names them."""
        found = self.master.rest("changesources")["changesources"]
        return {source["name"] for source in found if source["master"] is not None}

    def reconfig(self, what: str) -> list[tuple[str, ...]]:
        """Generate, reconfigure, and tell what happened to pollers."""
        generate(self.config, self.data, self.out)
        started = time.monotonic()
        said = self.master.reconfig()
        self.seconds[what] = time.monotonic() - started
        assert "Traceback" not in said, said
        return spied(said)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Iterator[Corpus]:
    world = Corpus(tmp_path_factory.mktemp("generated"), corpus)
    started = time.monotonic()
    with world.master:
        count = len(polled(world.masters))
        wait_for("the claims", lambda: world.claimed() == count, 60)
        world.seconds["start"] = time.monotonic() - started
        yield world
        # Buildbot gives up the claims of a stopping master one by one.
        world.master.kill()
    figures = ", ".join(f"{what} {seconds:.1f} s" for what, seconds in world.seconds.items())
    print(f"\ncheckupdates with the corpus: {figures}")  # shown with -s or -rP


def test_checkconfig_takes_both_masters_from_anywhere(tmp_path: Path) -> None:
    buildbot = str(Path(sys.executable).parent / "buildbot")
    for name in ("buildserver", "checkupdates"):
        basedir = tmp_path / name
        generated_master(ROOT / "generated/masters", name, basedir, SECRETS)
        command = [buildbot, "checkconfig", str(basedir)]
        elsewhere = tmp_path / f"elsewhere-{name}"
        elsewhere.mkdir()
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE, cwd=elsewhere
        )
        assert done.returncode == 0, done.stderr
        assert "Config file is good!" in done.stdout


def test_the_corpus_passes_checkconfig(world: Corpus, tmp_path: Path) -> None:
    buildbot = str(Path(sys.executable).parent / "buildbot")
    for name in ("buildserver", "checkupdates"):
        basedir = tmp_path / name
        generated_master(world.masters, name, basedir, SECRETS)
        command = [buildbot, "checkconfig", str(basedir)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd="/")
        assert done.returncode == 0, done.stderr


def test_the_services_are_exactly_the_active_apps(world: Corpus) -> None:
    active = {name for name, app in apps(CONFIG, world.data).items() if app.get("active")}
    pollers = polled(world.masters)
    assert world.sources() == active == set(pollers)
    assert list(pollers) == sorted(pollers)
    assert Counter(pollers.values()) == {"git": 3902 + 22, "hg": 1, "svn": 1}
    # Each was started and was given its arguments once; none stopped.
    happened = Counter(method for method, _, _ in spied(world.master.log()))
    assert happened == {"startService": 3926, "reconfigService": 3926}
    assert "Traceback" not in world.master.log()


def test_the_master_is_small(world: Corpus) -> None:
    status = Path(f"/proc/{world.master.pid()}/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    mib = int(found[1]) / 1024
    print(f"\nresident: {mib:.0f} MiB")
    assert 50 < mib < 300


def test_a_reconfig_without_change_touches_no_poller(world: Corpus) -> None:
    before = (world.masters / "checkupdates/pollers.py").stat()
    assert world.reconfig("reconfig without change") == []
    after = (world.masters / "checkupdates/pollers.py").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_change_of_one_app_reaches_its_poller_alone(world: Corpus) -> None:
    path = world.metadata(next(name for name, f in polled(world.masters).items() if f == "git"))
    text = path.read_text()
    try:
        changed = re.sub(r"(?m)^UpdateCheckMode:.*$", r"UpdateCheckMode: Tags ^z[\\d.]+$", text)
        assert changed != text
        path.write_text(changed)
        happened = world.reconfig("one app changed")
        assert happened == [("reconfigService", path.stem, repr(r"^z[\d.]+$"))]
    finally:
        path.write_text(text)
    assert [(m, n) for m, n, _ in world.reconfig("and back")] == [("reconfigService", path.stem)]


def test_one_app_comes_and_one_goes(world: Corpus) -> None:
    gone = next(name for name, kind in polled(world.masters).items() if kind == "git")
    text = world.metadata(gone).read_text()
    sources = set(polled(world.masters))
    world.metadata("org.example.fresh").write_text(text)
    world.metadata(gone).unlink()
    happened = world.reconfig("one app added, one removed")
    assert sorted((method, name) for method, name, _ in happened) == sorted(
        [
            ("stopService", gone),
            ("startService", "org.example.fresh"),
            ("reconfigService", "org.example.fresh"),
        ]
    )
    wanted = sources - {gone} | {"org.example.fresh"}
    # Claims are given up and made in one transaction each, after the reconfig at the latest.
    wait_for("the claims", lambda: world.claimed() == len(sources))
    wait_for("one to come and one to go", lambda: world.sources() == wanted)
    # Buildbot remembers the name of what was removed, without a master that would poll it.
    found = world.master.rest("changesources")["changesources"]
    assert [source["master"] for source in found if source["name"] == gone] == [None]
    world.metadata(gone).write_text(text)
    world.metadata("org.example.fresh").unlink()
    happened = world.reconfig("and back again")
    assert ("stopService", "org.example.fresh") in [(method, name) for method, name, _ in happened]


def test_a_broken_file_leaves_everybody_else_alone(world: Corpus) -> None:
    broken = next(name for name, kind in polled(world.masters).items() if kind == "git")
    text = world.metadata(broken).read_text()
    world.metadata(broken).write_text("Repo: [\n")
    try:
        happened = world.reconfig("one file broken")
        assert [(method, name) for method, name, _ in happened] == [("stopService", broken)]
    finally:
        world.metadata(broken).write_text(text)
    world.reconfig("and mended")


def test_it_answers_after_all_that(world: Corpus) -> None:
    assert [m["active"] for m in world.master.rest("masters")["masters"]] == [True]
    page = world.master.ask("GET", "/")
    assert page.status == 200
    assert "buildbot" in page.text.lower()
    workers = {w["name"] for w in world.master.rest("workers")["workers"]}
    assert workers == {f"checkupdates-{n}" for n in range(1, 5)}
    assert "Traceback" not in world.master.log()


# --- Names ------------------------------------------------------------------------------------


def small(folder: Path, **apps_: str) -> Path:
    """An fdroiddata of these files, `_` in the names standing for a dot."""
    (folder / "metadata").mkdir(parents=True)
    for name, text in apps_.items():
        (folder / f"metadata/{name.replace('_', '.')}.yml").write_text(text)
    return folder


def tagged(repo: str) -> str:
    """The metadata of an app whose tags are polled."""
    return f"RepoType: git\nRepo: {repo}\nUpdateCheckMode: Tags\n"


def test_names_cannot_collide(tmp_path: Path) -> None:
    shared = tagged("https://git.example.org/shared.git")
    # Ids that differ in case are two apps for fdroidserver, and two names for Buildbot.
    data = small(tmp_path / "data", org_example_one=shared, org_example_two=shared, A_b=shared)
    (data / "metadata/a.b.yml").write_text(shared)
    masters = generate(CONFIG, data, tmp_path / "out")
    assert list(polled(masters)) == ["A.b", "a.b", "org.example.one", "org.example.two"]
    basedir = tmp_path / "master"
    master = generated_master(masters, "checkupdates", basedir, SECRETS, addresses=[BRIDGE])
    with master:
        names = [s["name"] for s in master.rest("changesources")["changesources"]]
        assert sorted(names) == ["A.b", "a.b", "org.example.one", "org.example.two"]


@pytest.mark.parametrize("name", ["fdroiddata-poller", "a b", "a..b", "-a", "a.b.YML", "ö"])
def test_what_is_no_application_id_gets_no_poller(tmp_path: Path, name: str) -> None:
    data = small(tmp_path / "data", org_example_one=tagged("https://git.example.org/one.git"))
    (data / f"metadata/{name}.yml").write_text(tagged("https://git.example.org/two.git"))
    found = polled(generate(CONFIG, data, tmp_path / "out"))
    expected = ["a.b.YML", "org.example.one"] if name == "a.b.YML" else ["org.example.one"]
    assert list(found) == expected


# --- The buildserver ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def buildserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Master]:
    """The master as the repository has it, generated; only its password is not where another
    master of this machine may have put its own.
    """
    folder = tmp_path_factory.mktemp("buildserver")
    masters = folder / "masters"
    shutil.copytree(ROOT / "generated/masters", masters)
    config = masters / "buildserver/master.cfg"
    text = config.read_text()
    assert text.count(str(PASSWORD)) == 1
    config.write_text(text.replace(str(PASSWORD), str(folder / "sendchange/passwd")))
    with generated_master(masters, "buildserver", folder / "master", SECRETS) as master:
        yield master


def password(buildserver: Master) -> str:
    """What `buildbot sendchange` needs."""
    return (buildserver.basedir.parent / "sendchange/passwd").read_text().strip()


def names(master: Master, what: str) -> set[str]:
    """The names of what REST lists."""
    return {thing["name"] for thing in master.rest(what)[what]}


def test_the_buildserver_has_what_the_description_says(buildserver: Master) -> None:
    builders = {"build", "verify", "publish", "update", "deploy", "fdroiddata-watch"}
    assert names(buildserver, "builders") == builders
    machines = {f"{kind}-{n}" for kind in ("buildserver", "repository") for n in (1, 2, 3)}
    assert names(buildserver, "workers") == machines
    assert names(buildserver, "schedulers") == {
        "new-version",
        "single-build",
        "build-cycle",
        "submitted-verify",
        "fdroiddata",
        "publish-after-build",
        "update-after-publish",
        "force",
        "force-repository",
    }
    assert all(s["enabled"] for s in buildserver.rest("schedulers")["schedulers"])
    sources = names(buildserver, "changesources")
    assert "fdroiddata-poller" in sources
    assert not any("org.example" in name for name in sources)
    buttons = {b["name"]: b for b in buildserver.rest("forceschedulers")["forceschedulers"]}
    assert set(buttons) == {"force", "force-repository"}
    assert buttons["force"]["builder_names"] == ["build", "verify"]


def test_only_its_admin_may_force(buildserver: Master) -> None:
    values: dict[str, Any] = {"packageName": "org.example.tags", "versionCode": 12}
    anonymous = buildserver.force("force", "build", **values)
    assert anonymous.status == 403, anonymous
    for user, password in (("admin", "wrong"), ("admin", ""), ("root", "pass of admin")):
        with pytest.raises(PermissionError):
            buildserver.login(user, password)
    who = buildserver.login("admin", "pass of admin")
    # Made by the local workers, beside the master's own folder, where no fdroiddata.git is.
    assert buildserver.force("force-repository", "fdroiddata-watch", who).status == 200
    build = buildserver.builds("fdroiddata-watch", 1)[0]
    assert build["results"] == 2
    steps = buildserver.steps(build)
    assert "fdroiddata.git" in steps["git fetch"]["text"]
    assert not steps.get("fdroid-bb apply", {}).get("text")
    # Nothing was asked of the virtual machines.
    assert buildserver.rest("buildrequests?complete=false")["buildrequests"] == []


def test_a_secret_is_nowhere_to_be_read(buildserver: Master) -> None:
    told = [buildserver.ask("GET", path).text for path in ("/", "/auth/login", "/config")]
    told += [json.dumps(buildserver.rest(what)) for what in ("builders", "schedulers", "workers")]
    told += [buildserver.log(), (ROOT / "generated/masters/buildserver/master.cfg").read_text()]
    for secret in (*SECRETS.values(), password(buildserver)):
        assert not any(secret in text for text in told)


def test_a_change_is_submitted_as_fdroidserver_does(buildserver: Master) -> None:
    buildbot = str(Path(sys.executable).parent / "buildbot")

    def send(password: str) -> subprocess.CompletedProcess[bytes]:
        command = [buildbot, "sendchange", "--master=127.0.0.1:9999", f"--auth=fdroid:{password}"]
        # A category that nothing waits for: `build` would want a virtual machine.
        command += ["--who=fdroid", "--category=other", "--project=org.example.tags", "m/x.yml"]
        inside = buildserver.inside(command)
        return subprocess.run(inside, capture_output=True, timeout=PATIENCE)

    assert send(password(buildserver)).returncode == 0
    assert send("wrong").returncode != 0
    projects = [change["project"] for change in buildserver.rest("changes")["changes"]]
    assert projects == ["org.example.tags"]


def test_generated_is_current() -> None:
    fdroid_bb("generate", "--fdroiddata", "example/fdroiddata", "--check")


def test_master_cfg_reads_nothing_of_the_environment(tmp_path: Path) -> None:
    # `generated/` may be checked out anywhere, and a link may lead to it.
    (tmp_path / "link").symlink_to(ROOT / "generated/masters")
    basedir = tmp_path / "master"
    master = generated_master(tmp_path / "link", "checkupdates", basedir, SECRETS)
    command = [str(Path(sys.executable).parent / "buildbot"), "checkconfig", str(basedir)]
    env = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, cwd="/", env=env
    )
    assert done.returncode == 0, done.stderr
    assert not master.runs()
