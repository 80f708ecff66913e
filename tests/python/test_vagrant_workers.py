# SPDX-License-Identifier: GPL-2.0-or-later
"""VagrantLatentWorker in a real master, with real machines of real providers.

Faults that Vagrant cannot be brought to are laid before it on the PATH; what is not broken is
Vagrant itself. Its docker provider is the quickest, so it stands where the provider is no matter.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import BARE_BOX
from fdroid_bb.machines.vagrant import STARTS_AT_ONCE
from masters import PATIENCE, RETRY, wait_for
from vagrants import Vagrants, destroy, domains, virsh, volumes

# Fails where an earlier build has been.
UNTOUCHED = 'test ! -e "$HOME/been-here" && touch "$HOME/been-here"'

# As a backup program makes one; its bitmap, which needs a newer format of disks, does not matter.
CHECKPOINT = """\
<domaincheckpoint>
  <name>theirs</name>
  <creationTime>1</creationTime>
  <disks><disk name="vda" checkpoint="bitmap" bitmap="theirs"/></disks>
  {domain}
</domaincheckpoint>
"""

SMALL: dict[str, Any] = {"memory": 320, "cpus": 1}


@pytest.fixture(scope="module")
def libvirt(tmp_path_factory: pytest.TempPathFactory, vagrant_libvirt: None) -> Iterator[Vagrants]:
    """One worker whose machine is reset by a snapshot."""
    with Vagrants(tmp_path_factory.mktemp("libvirt"), **SMALL) as vagrants:
        yield vagrants


def test_a_build_finds_a_machine_as_the_snapshot_has_it(libvirt: Vagrants) -> None:
    first = libvirt.build(UNTOUCHED)
    assert first["results"] == 0, libvirt.machine_log(first)
    said = libvirt.machine_log(first)
    assert "a new machine" in said
    assert "vagrant snapshot save default clean: " in said
    libvirt.idle()
    # After it: the machine is off, and nothing runs.
    assert libvirt.domain() in domains("--inactive")
    second = libvirt.build(UNTOUCHED)
    assert second["results"] == 0, libvirt.script_log(second)
    said = libvirt.machine_log(second)
    assert "a machine that is as its snapshot was" in said
    assert "vagrant up --no-provision: " in said
    assert " s in all" in said
    libvirt.idle()
    assert libvirt.domain() in domains("--inactive")
    assert "Unhandled" not in libvirt.master.log()


def test_the_password_is_in_no_file_no_process_list_and_no_log(libvirt: Vagrants) -> None:
    lists: list[str] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            done = subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True)
            lists.append(done.stdout)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        build = libvirt.build("sleep 2")
    finally:
        over.set()
        watcher.join()
    assert build["results"] == 0
    told = [path.read_text() for path in libvirt.programs.glob("ssh.stdin.*")]
    passwords = [
        line.split("=")[1] for text in told for line in text.splitlines() if "WORKERPASS=" in line
    ]
    assert len(set(passwords)) == len(passwords) >= 3, "each start has a new one"
    assert all(len(password) >= 40 for password in passwords)
    shown = []
    for path in libvirt.master.basedir.rglob("*"):
        # The database's journals come and go.
        with contextlib.suppress(FileNotFoundError, IsADirectoryError):
            shown.append(path.read_bytes().decode(errors="replace"))
    shown += lists
    shown += [(libvirt.programs / "ssh.log").read_text()]
    assert any("exec sh -s" in text for text in lists), "ssh was seen in a process list"
    for password in passwords:
        assert not any(password in text for text in shown)
    # The master's port is on loopback; the machine comes to it through the tunnel.
    port = libvirt.master.pb_port
    assert f"-R 127.0.0.1:{port}:127.0.0.1:{port} default exec sh -s" in shown[-1]


def test_a_failed_start_does_not_cost_the_snapshot(libvirt: Vagrants) -> None:
    libvirt.idle()
    count = len(libvirt.builds())
    fault = libvirt.programs / "fault-up"
    libvirt.fault("up", f"rm {fault}; echo the host is busy; exit 1")
    libvirt.ask(UNTOUCHED)
    build = libvirt.succeeded(count)
    failed, *_ = libvirt.builds()[count:]
    assert failed["results"] == RETRY
    assert "failed attempts in a row with this snapshot: 1" in libvirt.machine_log(failed)
    assert "a machine that is as its snapshot was" in libvirt.machine_log(build)


def test_without_its_snapshot_a_machine_is_made_anew(libvirt: Vagrants) -> None:
    libvirt.idle()
    virsh("snapshot-delete", libvirt.domain(), "clean")
    build = libvirt.build(UNTOUCHED)
    said = libvirt.machine_log(build)
    assert build["results"] == 0, said
    # It was clean, and so booted; only the next reset finds that there is nothing to go back to.
    libvirt.wait_in_log("snapshot restore --no-start default clean: status 1")
    libvirt.wait_in_log("vagrant destroy -f: ")
    wait_for("the machine to be gone", lambda: libvirt.domain() not in domains())
    assert not [name for name in volumes() if name.startswith(libvirt.domain())]
    build = libvirt.build(UNTOUCHED)
    assert build["results"] == 0, libvirt.machine_log(build)
    assert "a new machine" in libvirt.machine_log(build)


def test_a_reconfig_in_the_middle_of_a_build_is_for_the_next_one(libvirt: Vagrants) -> None:
    libvirt.idle()
    count = len(libvirt.builds())
    libvirt.ask("sleep 5; grep MemTotal /proc/meminfo")
    libvirt.building(count + 1)
    libvirt.arguments["memory"] = 400
    libvirt.master.reconfig(libvirt.config())
    before = libvirt.finished(count + 1)
    assert before["results"] == 0
    after = libvirt.build("grep MemTotal /proc/meminfo")
    assert "a new machine" in libvirt.machine_log(after)

    def memory(build: dict[str, object]) -> int:
        lines = libvirt.script_log(build).splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemTotal:"))

    assert memory(after) - memory(before) > 60_000, "KiB, of 80 MiB"


def test_a_machine_that_dies_in_a_build_has_the_build_done_again(libvirt: Vagrants) -> None:
    libvirt.idle()
    count = len(libvirt.builds())
    libvirt.ask(f"{UNTOUCHED} && if [ $BUILDNUMBER = {count + 1} ]; then sleep 600; fi")
    libvirt.building(count + 1)
    virsh("destroy", libvirt.domain())
    assert libvirt.finished(count + 1)["results"] == RETRY
    again = libvirt.finished(count + 2)
    assert again["results"] == 0, libvirt.script_log(again)


def test_a_killed_master_cleans_up_its_own_and_nothing_else(
    libvirt: Vagrants, tmp_path: Path
) -> None:
    libvirt.idle()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    text = (libvirt.directory() / "Vagrantfile").read_text()
    own = libvirt.domain().removesuffix("default")
    (foreign / "Vagrantfile").write_text(text.replace(own, f"foreign-{own}"))
    up = ["vagrant", "up", "--provider=libvirt"]
    done = subprocess.run(up, cwd=foreign, timeout=PATIENCE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    try:
        count = len(libvirt.builds())
        libvirt.ask(f"{UNTOUCHED} && if [ $BUILDNUMBER = {count + 1} ]; then sleep 600; fi")
        libvirt.building(count + 1)
        libvirt.master.kill()
        assert libvirt.domain() in domains("--state-running")
        libvirt.master.start()
        # The build that was lost is done again, in a machine without traces of it.
        again = libvirt.succeeded(count)
        assert again["results"] == 0
        assert f"foreign-{own}default" in domains("--state-running")
        # And with nothing to build, nothing is left running either.
        libvirt.idle()
        count = len(libvirt.builds())
        libvirt.ask(f"{UNTOUCHED} && if [ $BUILDNUMBER = {count + 1} ]; then sleep 600; fi")
        libvirt.building(count + 1)
        libvirt.master.kill()
        libvirt.builders = {}
        libvirt.write()
        libvirt.master.start()
        libvirt.idle()
        assert libvirt.domain() in domains("--inactive")
        assert f"foreign-{own}default" in domains("--state-running")
        # The build that waited all the time is not lost.
        libvirt.builders = None
        libvirt.master.reconfig(libvirt.config())
        assert libvirt.succeeded(count)["results"] == 0
    finally:
        destroy(foreign)


def test_what_a_killed_vagrant_left_is_removed_before_it_blocks(libvirt: Vagrants) -> None:
    wait_for("the last build", lambda: all(b["complete"] for b in libvirt.builds()), PATIENCE)
    libvirt.idle()
    directory = libvirt.directory()
    # As a `vagrant up` that is killed between making a machine and writing down that it did.
    state = json.loads((directory / "state.json").read_text())
    (directory / "state.json").write_text(json.dumps(state | {"clean": False, "made_from": None}))
    subprocess.run(["rm", "-r", str(directory / ".vagrant")], check=True)
    assert libvirt.domain() in domains()
    count = len(libvirt.builds())
    libvirt.ask(UNTOUCHED)
    build = libvirt.succeeded(count)
    assert "a new machine" in libvirt.machine_log(build)


def test_a_worker_that_is_taken_away_leaves_no_machine(libvirt: Vagrants) -> None:
    libvirt.idle()
    domain = libvirt.domain()
    assert domain in domains()
    libvirt.count = 0
    libvirt.master.reconfig('c["workers"] += []\n', seconds=120)
    assert domain not in domains()
    assert f"{domain}.img" not in volumes()
    assert not libvirt.directory().exists()


def test_a_machine_is_destroyed_and_made_anew(tmp_path: Path, vagrant_libvirt: None) -> None:
    with Vagrants(tmp_path, snapshot=False, **SMALL) as vagrants:
        for _ in range(2):
            build = vagrants.build(UNTOUCHED)
            said = vagrants.machine_log(build)
            assert build["results"] == 0, said
            assert "a new machine" in said
            assert "snapshot" not in said
            vagrants.idle()
            domain = vagrants.domain()
            assert domain not in domains()
            assert f"{domain}.img" not in volumes()


@pytest.fixture
def foreign(vagrant_libvirt: None) -> Iterator[str]:
    """A disk that is somebody else's, in the same pool."""
    name = f"foreign-{secrets.token_hex(4)}.img"
    virsh("vol-create-as", "default", name, "1M", "--format", "qcow2")
    yield name
    virsh("vol-delete", name, "--pool", "default")


def test_a_machine_that_vagrant_cannot_destroy_is_removed_and_nothing_else(
    tmp_path: Path, foreign: str
) -> None:
    path = virsh("vol-path", foreign, "--pool", "default").strip()
    with Vagrants(tmp_path, snapshot=False, **SMALL) as vagrants:
        for number, said in (
            (1, "cannot delete inactive domain with 1 checkpoints"),
            (2, f"not destroyed with Vagrant, which would delete {path}"),
        ):
            vagrants.ask("sleep 600")
            vagrants.building(number)
            domain = vagrants.domain()
            if number == 1:
                described = tmp_path / "checkpoint.xml"
                described.write_text(CHECKPOINT.format(domain=virsh("dumpxml", domain)))
                virsh("checkpoint-create", domain, str(described), "--redefine")
            else:
                virsh("attach-disk", domain, path, "vdb", "--live", "--config")
            vagrants.cancel(vagrants.builds()[-1])
            assert vagrants.finished(number)["results"] == 6
            vagrants.idle()
            assert said in vagrants.master.log()
            assert domain not in domains()
            assert f"{domain}.img" not in volumes()
            assert foreign in volumes()


def test_a_box_without_a_worker_gets_one(
    tmp_path: Path, vagrant_libvirt: None, worker_wheels: Path
) -> None:
    with Vagrants(
        tmp_path, worker_wheels=str(worker_wheels), **SMALL | {"box": BARE_BOX}
    ) as vagrants:
        build = vagrants.build(f"{UNTOUCHED} && env")
        said = vagrants.machine_log(build)
        assert build["results"] == 0, said
        assert "installed buildbot-worker: " in said
        # Nothing of the worker is in the way of what it builds.
        assert "PYTHONPATH" not in vagrants.script_log(build)
        # It is in the snapshot, and not installed again.
        build = vagrants.build(UNTOUCHED)
        said = vagrants.machine_log(build)
        assert build["results"] == 0, said
        assert "installed" not in said


def test_a_box_without_a_worker_says_so(tmp_path: Path, vagrant_libvirt: None) -> None:
    with Vagrants(tmp_path, snapshot=False, **SMALL | {"box": BARE_BOX}) as vagrants:
        build = vagrants.attempt()
        assert build["results"] == RETRY
        said = vagrants.machine_log(build)
        assert "the box has neither bbworker nor buildbot-worker: put one into it" in said


@pytest.fixture
def docker(tmp_path: Path, vagrant_docker: None) -> Iterator[Vagrants]:
    """One worker in a machine of the docker provider."""
    with Vagrants(tmp_path, provider="docker") as vagrants:
        yield vagrants
        vagrants.idle()
        assert not vagrants.containers(), "nothing is left"


def test_a_build_runs_in_a_machine_of_the_docker_provider(docker: Vagrants) -> None:
    for _ in range(2):
        build = docker.build(UNTOUCHED)
        said = docker.machine_log(build)
        assert build["results"] == 0, said
        assert "vagrant up --provider=docker: " in said
        docker.idle()
        assert not docker.containers()


def test_two_builders_share_an_instance_and_no_machine(docker: Vagrants) -> None:
    docker.ask(UNTOUCHED, "vm")
    docker.ask(UNTOUCHED, "other")
    docker.ask(UNTOUCHED, "vm")
    docker.ask(UNTOUCHED, "other")
    builds = [docker.finished(n, builder) for builder in ("vm", "other") for n in (1, 2)]
    assert [build["results"] for build in builds] == [0, 0, 0, 0]
    spans = sorted((build["started_at"], build["complete_at"]) for build in builds)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("echo 'The box you asked for could not be found.' >&2; exit 1", "could not be found."),
        ("head -c 3000000 /dev/urandom; echo; echo the end; exit 7", "status 7 / "),
        ("kill -9 $$", "vagrant up --provider=docker: status -9"),
    ],
    ids=["fails", "prints garbage", "is killed"],
)
def test_a_vagrant_that_fails_has_its_words_in_the_builds_log(
    docker: Vagrants, fault: str, words: str
) -> None:
    docker.fault("up", fault)
    build = docker.attempt()
    assert build["results"] == RETRY
    said = docker.machine_log(build)
    assert "did not start: vagrant up --provider=docker: " in said
    assert words in said
    assert all(c.isprintable() or c == "\n" for c in said.split("Traceback")[0])
    # The instance is not stuck, and the build is not lost.
    docker.fault("up", None)
    docker.succeeded(1)


def test_a_vagrant_that_hangs_is_ended(tmp_path: Path, vagrant_docker: None) -> None:
    with Vagrants(tmp_path, provider="docker", missing_timeout=20) as vagrants:
        # Deaf to the polite signal, and with a child that no other test has.
        sleep = f"sleep 1000.{os.getpid()}"
        vagrants.fault("up", f"trap '' TERM; echo Waiting for nothing...; {sleep}; {sleep}\n")
        build = vagrants.attempt(seconds=60)
        assert build["results"] == RETRY
        said = vagrants.machine_log(build)
        assert "not ready after 20 seconds: vagrant up --provider=docker / Waiting for" in said
        vagrants.fault("up", None)
        vagrants.succeeded(1)
        children = subprocess.run(["pgrep", "-f", sleep], capture_output=True)
        assert children.returncode == 1, "the child is gone too"


def test_a_build_that_is_cancelled_while_its_machine_starts_ends_at_once(docker: Vagrants) -> None:
    docker.fault("up", '"$@"; sleep 300\n')
    docker.ask()
    wait_for("vagrant up", lambda: "up --provider=docker" in docker.said())
    wait_for("the container", docker.containers)
    docker.cancel(docker.builds()[0])
    cancelled = docker.finished(1, seconds=30)
    assert cancelled["results"] == 6
    docker.fault("up", None)
    docker.idle()
    assert docker.build(UNTOUCHED)["results"] == 0


def test_a_worker_that_does_not_come_up_is_noticed_at_once(docker: Vagrants) -> None:
    docker.fault("ssh", "echo no python3 here; exit 3\n")
    build = docker.attempt(seconds=60)
    assert build["results"] == RETRY
    said = docker.machine_log(build)
    words = "the connection to the machine ended: ssh: status 3 / no python3 here"
    assert f"latent worker crashed before connecting: {words}" in said
    assert words in docker.said_of_machine(build)
    docker.fault("ssh", None)
    docker.succeeded(1)


def test_what_vagrant_says_beside_the_access_is_not_in_its_way(docker: Vagrants) -> None:
    before = "echo 'Host keys of a plugin'; echo '==> default: a warning'; echo"
    docker.fault("ssh-config", f'{before}; "$@"; echo; echo There is a new version of Vagrant\n')
    build = docker.build(UNTOUCHED)
    assert build["results"] == 0, docker.machine_log(build)
    # Nor is a connection that fails taken for a box without a worker.
    count = len(docker.builds())
    docker.fault("ssh-config", "\"$@\" | sed 's/Port .*/Port 1/'")
    build = docker.attempt()
    assert build["results"] == RETRY
    words = "did not start: ssh into the machine: status 255 / ssh: connect to host "
    assert words in docker.said_of_machine(build)
    docker.fault("ssh-config", "echo nothing of use")
    wait_for(
        "the words",
        lambda: any(
            "vagrant ssh-config: tells of no host: nothing of use" in docker.machine_log(b)
            for b in docker.builds()[count:]
            if b["complete"]
        ),
    )
    docker.fault("ssh-config", None)
    docker.succeeded(count)


def test_a_machine_that_cannot_be_saved_is_not_saved_for_each_build(
    tmp_path: Path, vagrant_docker: None
) -> None:
    # Vagrant's docker provider has no snapshots, whatever it is told.
    with Vagrants(tmp_path, provider="docker", snapshot=True) as vagrants:
        for number in (1, 2, 3, 4):
            build = vagrants.build(UNTOUCHED)
            assert build["results"] == 0, vagrants.machine_log(build)
            said = vagrants.machine_log(build)
            assert ("no snapshot: this machine could not be saved" in said) == (number > 2)
            vagrants.idle()
        tried = [command for command in vagrants.said() if command.startswith("snapshot save")]
        assert len(tried) == 2
        # Another description may do.
        vagrants.arguments["provider_options"] = {"remains_running": True}
        vagrants.master.reconfig(vagrants.config())
        assert vagrants.build(UNTOUCHED)["results"] == 0
        tried = [command for command in vagrants.said() if command.startswith("snapshot save")]
        assert len(tried) == 3
        vagrants.idle()


def test_a_machine_is_kept_for_as_long_as_it_was_told(tmp_path: Path, vagrant_docker: None) -> None:
    with Vagrants(tmp_path, provider="docker", build_wait_timeout=10) as vagrants:
        assert vagrants.build(UNTOUCHED)["results"] == 0
        # In time for the same machine, which is what was asked for.
        assert vagrants.build(UNTOUCHED)["results"] == 2
        vagrants.idle()
        assert not vagrants.containers()
        assert vagrants.build(UNTOUCHED)["results"] == 0
        vagrants.idle()


def test_a_full_disk_is_told_and_got_over(tmp_path: Path, vagrant_docker: None) -> None:
    if os.geteuid() != 0:
        pytest.skip("a full disk: only root can mount one")
    with Vagrants(tmp_path, provider="docker") as vagrants:
        folder = vagrants.master.basedir / "vagrant"
        folder.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
        subprocess.run(mount, check=True)
        try:
            (folder / "filler").write_bytes(b"x" * 60_000)
            build = vagrants.attempt()
            assert build["results"] == RETRY
            assert "No space left on device" in vagrants.machine_log(build)
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        vagrants.succeeded(1)


def test_pages_are_answered_while_ten_machines_start(tmp_path: Path, vagrant_docker: None) -> None:
    with Vagrants(tmp_path, provider="docker", count=10) as vagrants:
        # None comes up before the master has answered with as many starts under way as it allows.
        # One that waited for a `vagrant up` would never answer.
        opened = vagrants.programs / "opened"
        vagrants.fault("up", f'until [ -e {opened} ]; do sleep 0.1; done; exec "$@"\n')
        for _ in range(10):
            vagrants.ask()
        wait_for("starts", lambda: len(vagrants.said()) >= STARTS_AT_ONCE)
        assert vagrants.master.ask("GET", "/").status == 200
        assert not any(build["complete"] for build in vagrants.builds())
        opened.touch()

        def done() -> bool:
            assert vagrants.master.ask("GET", "/").status == 200
            # Vagrant's docker provider inspects all containers there are, and fails where one of
            # somebody else's goes meanwhile: that start is tried again.
            results = Counter(build["results"] for build in vagrants.builds())
            assert set(results) <= {None, 0, RETRY}
            return results[0] == 10

        wait_for("ten builds", done)
        used = {b["workerid"] for b in vagrants.builds()}
        assert len(used) == 10
        assert any("waits: 2 others start" in vagrants.machine_log(b) for b in vagrants.builds())
        vagrants.idle()
        assert not vagrants.containers()
