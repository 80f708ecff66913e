# SPDX-License-Identifier: GPL-2.0-or-later
"""`plan`, `apply` and `rollback` with real masters, and with all that can go wrong.

What Buildbot cannot be brought to do by its configuration is done to that configuration behind the
back of `apply`, by a program that stands before the real `buildbot`; what the master makes of it is
real.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from applied import APP, Applied
from masters import PATIENCE, wait_for
from program import PROGRAM, fdroid_bb

# A poller that has the name of another: `checkconfig` lets it pass, and a reconfiguration is then
# half applied.
TWIN = """
from buildbot.plugins import changes
c["change_source"] += [changes.GitPoller(repourl=f"https://git.example.org/{n}", name="twin",
                                         workdir=f"twin{n}") for n in range(2)]
"""


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    applied = Applied(tmp_path_factory.mktemp("apply"))
    yield applied
    applied.master.stop()


def test_what_is_new_runs_and_what_is_not_is_left_alone(applied: Applied) -> None:
    pid = applied.pid()
    assert "main: runs it already" in applied.run("apply")
    applied.add("org.example.new")
    assert applied.run("plan").startswith("+1 ~0 −0, safe to reconfigure\n")
    said = applied.run("apply")
    assert "+ poller org.example.new of main: starts with" in said
    assert "main: reconfigured" in said
    assert "org.example.new" in applied.pollers()
    assert len(applied.pollers()) == 41
    assert applied.pid() == pid
    before = applied.updates()
    assert "main: runs it already" in applied.run("apply")
    assert applied.updates() == before, "the master was left alone"


def test_for_machines_it_prints_one_document(applied: Applied) -> None:
    applied.add("org.example.machines")
    done = fdroid_bb(*applied.arguments("apply", "--format", "json"))
    document = json.loads(done)
    assert (document["format"], document["added"], document["restart"]) == (1, 1, False)
    (change,) = document["changes"]
    assert (change["kind"], change["name"]) == ("poller", "org.example.machines")
    assert change["effect"] == "starts"
    assert "org.example.machines" in applied.pollers()


def test_a_master_that_is_open_to_others_or_of_another_user_is_left_alone(applied: Applied) -> None:
    applied.add("org.example.unwanted")
    base = applied.master.basedir
    try:
        base.chmod(0o710)
        said = applied.run("apply", exit_code=5)
        assert f"error: other users can enter `{base}` (mode 0710)" in said
        assert f"help: `chmod 700 {base}`" in said
        base.chmod(0o700)
        if os.geteuid() == 0:
            os.chown(base, 65534, 65534)
            said = applied.run("apply", exit_code=5)
            assert "the base directory of the master `main` is of user 65534" in said
            assert "and this is run by root" in said
    finally:
        os.chown(base, os.geteuid(), os.getegid())
        base.chmod(0o700)
    assert "nothing was changed" in said
    assert "org.example.unwanted" not in (applied.masters / "main/pollers.py").read_text()
    (applied.data / "metadata/org.example.unwanted.yml").unlink()


def test_an_app_may_have_the_name_of_anything_of_ours(applied: Applied) -> None:
    # The builder, the scheduler, what takes changes, the master, the folder of the runtime.
    names = ["check", "submitted", "submit", "sendchange", "main", "fdroid_bb"]
    for name in names:
        applied.add(name)
    assert "reconfigured" in applied.run("apply")
    sources = applied.master.rest("changesources")["changesources"]
    assert set(names) <= {source["name"] for source in sources}
    applied.add("org.example.after")
    assert "reconfigured" in applied.run("apply")
    for name in names:
        (applied.data / f"metadata/{name}.yml").unlink()
    applied.run("apply", "--accept-vanishing")


def test_a_plan_is_applied_as_it_was_made_or_not_at_all(applied: Applied) -> None:
    plan = applied.folder / "plan.json"
    applied.add("org.example.planned")
    applied.run("plan", "-o", plan)
    (applied.data / "metadata/org.example.planned.yml").write_text(APP.replace("NAME", "moved"))
    before = applied.files()
    said = applied.run("apply", plan, exit_code=2)
    assert "what the inputs compile to has changed since" in said
    assert applied.files() == before
    applied.run("plan", "-o", plan)
    assert "main: reconfigured" in applied.run("apply", plan)
    said = applied.run("apply", plan, exit_code=2)
    assert "the configuration on disk has changed since" in said
    plan.write_text("{}")
    assert "is no plan" in applied.run("apply", plan, exit_code=1)


def test_what_checkconfig_refuses_reaches_no_master(applied: Applied) -> None:
    before, updates = applied.files(), applied.updates()
    applied.add("org.example.refused")
    # A new file: the old one and what is kept of it share their bytes.
    applied.fault("checkconfig", 'rm "$2"; echo "raise ValueError(\'broken\')" > "$2"')
    said = applied.run("apply", exit_code=5)
    applied.fault("checkconfig", None)
    assert "buildbot checkconfig refuses" in said
    assert "broken" in said
    assert "nothing was changed" in said
    assert applied.files() == before
    assert applied.updates() == updates
    assert not applied.leftovers()
    (applied.data / "metadata/org.example.refused.yml").unlink()


@pytest.mark.parametrize(
    ("python", "words"),
    [
        ("raise ValueError('broken')", "refuses the configuration"),
        (TWIN, "took half of the configuration (partially applied)"),
    ],
)
def test_what_a_master_does_not_take_is_undone(applied: Applied, python: str, words: str) -> None:
    before, pollers = applied.files(), applied.pollers()
    applied.add("org.example.undone")
    config = applied.masters / "main/master.cfg"
    broken = applied.folder / "broken.py"
    broken.write_text(f"\n{python}\n")
    once = f"cat {config} {broken} > {config}.new && mv {config}.new {config}"
    applied.behind(once)
    said = applied.run("apply", exit_code=5)
    assert words in said
    assert "the old configuration is back, and runs" in said
    assert applied.files() == before
    assert applied.pollers() == pollers
    (applied.data / "metadata/org.example.undone.yml").unlink()
    assert "main: runs it already" in applied.run("apply")


@pytest.fixture
def supervised(applied: Applied) -> Iterator[Applied]:
    """Its master in the foreground, as a service manager runs it."""
    applied.master.stop()
    applied.master.start(foreground=True)
    yield applied
    applied.master.stop()
    applied.master.start()


def starts_again(applied: Applied, before: Callable[[], object] = lambda: None) -> threading.Thread:
    """What a service manager does when the master has ended, after `before`."""

    def supervise() -> None:
        assert applied.master.process is not None
        applied.master.process.wait()
        before()
        applied.master.start(foreground=True)

    supervisor = threading.Thread(target=supervise)
    supervisor.start()
    return supervisor


def test_a_restart_is_done_only_where_it_is_allowed(supervised: Applied) -> None:
    applied = supervised
    pid, before = applied.pid(), applied.files()
    applied.set_views('["grid"]')
    plan = applied.run("plan")
    assert plan.startswith("+0 ~1 −0, restart needed: setting www of main\n")
    assert f"({applied.config}:11)" in plan
    said = applied.run("apply", exit_code=5)
    assert "the master `main` must be started again: only that changes its `www`" in said
    assert "nothing was changed" in said
    assert (applied.pid(), applied.files()) == (pid, before)

    supervisor = starts_again(applied)
    said = applied.run("apply", "--allow-restart")
    supervisor.join()
    assert "main: started again" in said
    assert applied.pid() != pid
    assert "grid_view" in applied.master.ask("GET", "/config").text
    assert "main: runs it already" in applied.run("apply")


def test_half_of_a_configuration_is_answered_with_a_restart_where_that_is_allowed(
    supervised: Applied,
) -> None:
    applied = supervised
    pid = applied.pid()
    applied.add("org.example.half")
    config = applied.masters / "main/master.cfg"
    twin = applied.folder / "twin.py"
    twin.write_text(f"{config.read_text()}{TWIN}")
    whole = applied.folder / "whole.py"

    # What it takes half of is whole again when it is started again, as the database would be.
    applied.behind(f"cp {config} {whole}; cp {twin} {config}.new; mv {config}.new {config}")

    supervisor = starts_again(applied, lambda: whole.replace(config))
    said = applied.run("apply", "--allow-restart")
    supervisor.join()
    assert "`main` took half of it: starting it again" in said
    assert "main: started again" in said
    assert applied.pid() != pid
    assert "org.example.half" in applied.pollers()


@pytest.mark.parametrize(
    ("cwd", "masters", "views"),
    [
        ("bases", ["--buildbot", "../buildbot"], '["grid", "waterfall"]'),
        (".", ["--basedirs", "bases", "--buildbot", "./buildbot"], '["grid"]'),
    ],
)
def test_a_daemon_is_started_again_wherever_the_command_is_run(
    applied: Applied, cwd: str, masters: list[str], views: str
) -> None:
    pid = applied.pid()
    applied.set_views(views)
    inputs = applied.arguments("plan")[1:]
    more = ["--allow-restart", *masters]
    said = fdroid_bb("apply", *inputs, *more, both=True, cwd=applied.folder / cwd)
    assert "main: started again" in said
    assert applied.pid() != pid
    assert applied.master.runs()
    assert "main: runs it already" in applied.run("apply")


def test_a_master_that_has_just_been_started_is_waited_for(applied: Applied) -> None:
    # As it is until it has loaded its configuration.
    (applied.master.basedir / "twistd.pid").touch()
    live = applied.master.basedir / "fdroid-bb-live.json"
    away = live.rename(applied.folder / "away")
    log = applied.folder / "waiting.log"
    with log.open("w") as file:
        command = [PROGRAM, *applied.arguments("apply")]
        program = subprocess.Popen(command, stdout=file, stderr=file)
    wait_for("the words", lambda: "waiting for `main` to start" in log.read_text())
    away.rename(live)
    assert program.wait(PATIENCE) == 0
    assert "main: runs it already" in log.read_text()


def test_a_master_that_is_not_started_again_is_told_of(applied: Applied) -> None:
    before = applied.files()
    applied.set_views('["waterfall"]')
    # Once: the old configuration is then started.
    fault = applied.folder / "fault-start"
    applied.fault("start", f"rm {fault}; echo no more processes; exit 3")
    said = applied.run("apply", "--allow-restart", exit_code=5)
    assert "buildbot does not start the master `main`:\nno more processes\n" in said
    assert "the old configuration is back, and runs" in said
    assert applied.files() == before
    assert applied.master.runs()
    # What the master itself says is told too.
    config = applied.masters / "main/master.cfg"
    broken = applied.folder / "broken.py"
    broken.write_text("\nraise ValueError('broken')\n")
    script = f"rm {fault}; cat {config} {broken} > {config}.new && mv {config}.new {config}"
    applied.fault("start", script)
    said = applied.run("apply", "--allow-restart", exit_code=5)
    assert "buildbot does not start the master `main`" in said
    assert "ValueError: broken" in said
    assert "the old configuration is back, and runs" in said
    assert applied.files() == before
    assert applied.master.runs()
    applied.set_views('["grid"]')
    assert "main: runs it already" in applied.run("apply")


def test_a_rollback_stays_until_it_is_released(applied: Applied) -> None:
    before, pollers = applied.files(), applied.pollers()
    applied.add("org.example.regretted")
    applied.run("apply")
    assert "org.example.regretted" in applied.pollers()
    listed = applied.run("rollback", "--list")
    numbers = [int(line.split(":")[0]) for line in listed.splitlines() if ": of " in line]
    assert len(numbers) >= 2
    assert numbers == sorted(numbers)
    # One that fails in between does not count.
    applied.add("org.example.failing", APP)
    broken = applied.masters / "main/master.cfg"
    text = f"cat {broken} > {broken}.new; echo 'raise ValueError' >> {broken}.new"
    applied.behind(f"{text}; mv {broken}.new {broken}")
    applied.run("apply", exit_code=5)
    (applied.data / "metadata/org.example.failing.yml").unlink()
    said = applied.run("rollback")
    assert "main: reconfigured" in said
    assert applied.files() == before
    assert applied.pollers() == pollers
    said = applied.run("apply", exit_code=5)
    assert "somebody has rolled back" in said
    assert "apply --release" in said
    assert applied.files() == before
    # One that fails releases nothing.
    applied.fault("checkconfig", "exit 1")
    applied.run("apply", "--release", exit_code=5)
    applied.fault("checkconfig", None)
    assert "somebody has rolled back" in applied.run("apply", exit_code=5)
    assert "main: reconfigured" in applied.run("apply", "--release")
    assert "org.example.regretted" in applied.pollers()
    # Any earlier one, by its number.
    applied.run("rollback", str(numbers[-1]))
    assert applied.pollers() == pollers
    said = applied.run("rollback", str(numbers[0]), exit_code=5)
    assert "the master `main` must be started again" in said
    assert "no such configuration" in applied.run("rollback", "9999", exit_code=1)
    applied.run("apply", "--release")


def test_a_kept_configuration_that_was_edited_is_not_returned_to(applied: Applied) -> None:
    applied.add("org.example.edited")
    applied.run("apply")
    kept = max((applied.out / ".masters-kept").iterdir(), key=lambda path: int(path.name))
    pollers = kept / "main/pollers.py"
    text = pollers.read_text()
    before = applied.files()
    pollers.unlink()
    pollers.write_text(f"{text}# edited\n")
    assert "was edited" in applied.run("rollback", exit_code=1)
    assert applied.files() == before
    pollers.write_text(text)


def test_broken_metadata_keeps_its_poller_and_the_guard_keeps_all(applied: Applied) -> None:
    pollers = applied.pollers()
    applied.add("org.example.app7", "Repo: [\n")
    said = applied.run("apply")
    assert "the metadata of `org.example.app7` is broken: it keeps the poller it has" in said
    assert applied.pollers() == pollers
    applied.add("org.example.app7")
    for number in range(20):
        (applied.data / f"metadata/org.example.app{number}.yml").unlink()
    said = applied.run("apply", exit_code=4)
    assert "pollers of the master `main` would vanish" in said
    assert applied.pollers() == pollers
    for number in range(20):
        applied.add(f"org.example.app{number}")
    assert "main: runs it already" in applied.run("apply")


def test_a_worker_that_no_builder_uses_is_told_of(applied: Applied) -> None:
    text = applied.config.read_text()
    applied.config.write_text(f'{text}\n[workers.spare]\nmaster = "main"\nlocal = {{}}\n')
    said = applied.run("apply")
    assert "warning: no builder uses the worker `spare` of the master `main`" in said
    applied.config.write_text(text)
    assert "no builder uses" not in applied.run("apply")


def test_no_second_apply_runs_beside_the_first(applied: Applied) -> None:
    applied.add("org.example.slow")
    applied.fault("checkconfig", f"touch {applied.folder}/busy; sleep 3")
    results: list[str] = []
    first = threading.Thread(target=lambda: results.append(applied.run("apply")))
    first.start()
    wait_for("the first", lambda: (applied.folder / "busy").exists())
    said = applied.run("apply", exit_code=1)
    assert "another run is writing to" in said
    first.join()
    applied.fault("checkconfig", None)
    assert "main: reconfigured" in results[0]


def test_killed_at_any_step_it_leaves_the_old_set_or_the_new_one(applied: Applied) -> None:
    old = applied.files()
    seen = set()
    started = time.monotonic()
    applied.add("org.example.kill")
    applied.run("apply")
    whole = time.monotonic() - started
    new = applied.files()
    last = 11
    for step in range(last + 1):
        (applied.data / "metadata/org.example.kill.yml").unlink(missing_ok=True)
        applied.run("apply")
        assert applied.files() == old
        applied.add("org.example.kill")
        program = subprocess.Popen(
            [PROGRAM, *applied.arguments("apply")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # The first is killed at once and the last one after its end, however fast this machine is.
        if step == last:
            program.wait()
        elif step > 0:
            time.sleep(whole * step / last)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.wait()
        files = applied.files()
        assert files in (old, new), "neither the old set nor the new one"
        seen.add(files == new)
        # Who comes next ends what was begun.
        applied.run("apply")
        assert applied.files() == new
        assert "org.example.kill" in applied.pollers()
        assert not applied.leftovers()
    assert seen == {False, True}


def test_a_master_that_hangs_gets_its_old_configuration_back(applied: Applied) -> None:
    before = applied.files()
    applied.add("org.example.hangs")
    # What comes before takes no time, also on a busy machine.
    applied.fault("checkconfig", "exit 0")
    os.kill(applied.pid(), signal.SIGSTOP)
    try:
        said = applied.run("apply", "--patience", "8", exit_code=5)
    finally:
        os.kill(applied.pid(), signal.SIGCONT)
        applied.fault("checkconfig", None)
    assert "has not loaded the configuration within 8 s" in said
    assert "the old configuration is back, but does not run" in said
    assert applied.files() == before
    # Awake, it loads what is there.
    wait_for("the master", lambda: "org.example.hangs" not in applied.pollers())
    assert "main: reconfigured" in applied.run("apply")
    assert "org.example.hangs" in applied.pollers()


def test_a_master_that_ends_is_told_of(applied: Applied) -> None:
    before = applied.files()
    applied.add("org.example.ends")
    pid = applied.pid()
    applied.behind(f"kill -9 {pid}")
    said = applied.run("apply", exit_code=5)
    assert "the master `main` ended while it loaded the configuration" in said
    assert "the old configuration is back, but does not run" in said
    assert applied.files() == before
    # It is down now, and nothing is changed behind its back.
    said = applied.run("apply", exit_code=5)
    assert "the master `main` does not run" in said
    assert "nothing was changed" in said
    assert applied.files() == before
    applied.master.basedir.rename(applied.folder / "elsewhere")
    said = applied.run("apply", exit_code=5)
    assert "holds no master's base directory" in said
