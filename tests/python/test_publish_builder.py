# SPDX-License-Identifier: GPL-2.0-or-later
"""A real master whose builder publishes: an app that is refused is a warning, no more."""

from __future__ import annotations

import os
from pathlib import Path

from masters import ROOT, Master, free_port, put_secrets
from program import PROGRAM, generate
from repository import Repository, make_apk, signers

SUCCESS, WARNINGS, FAILURE = range(3)

PASSWORD = "correct horse battery staple"

DESCRIPTION = """
[fdroiddata]
url = "https://git.example.org/fdroiddata.git"

[masters.main]
title = "Main"
url = "http://127.0.0.1:8010/"
worker-listen = "127.0.0.1:WORKERS"
web.listen = "127.0.0.1:PAGES"
web.users.admin = { password = { secret = "web-admin" }, roles = ["admin"] }
web.allow.force = ["admin"]

[workers.local]
master = "main"
local = {}

[builders.publish]
workers = ["local"]
steps = [{ use = "publish" }]

[[step-lists.publish]]
run-on-master = ["fdroid-bb", "publish"]
workdir = "repository"
warn-on = [6, 8]
stop-on = [7, 8]

[builders.update]
workers = ["local"]
steps = [{ run-on-master = ["fdroid", "update"], workdir = "repository" }]

[schedulers.force]
on = "force"
builders = ["publish"]

[schedulers.then]
on = { after = "publish" }
builders = ["update"]
"""


def test_what_was_published_is_updated_though_an_app_was_refused(
    tmp_path: Path, fdroidserver: Path
) -> None:
    port = free_port()
    config = tmp_path / "fdroid-bb.toml"
    text = DESCRIPTION.replace("WORKERS", str(free_port())).replace("PAGES", str(port))
    config.write_text(text)
    masters = generate(config, ROOT / "example/fdroiddata", tmp_path / "out")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "fdroid-bb").symlink_to(PROGRAM)
    path = f"{programs}:{fdroidserver}:{os.environ['PATH']}"
    put_secrets(tmp_path / "main", {"web-admin": PASSWORD})
    configfile = masters / "main/master.cfg"
    master = Master(tmp_path / "main", configfile=configfile, www_port=port, env={"PATH": path})
    master.output.mkdir(parents=True, exist_ok=True)
    repository = Repository(master.output, fdroidserver)
    for app in ("a.bad", "b.good"):
        repository.metadata(app)
    other = make_apk(tmp_path / "made", "org.example.bank", 1)
    repository.built("a.bad", apk=other)
    repository.built("b.good")
    with master:
        who = master.login("admin", PASSWORD)
        assert master.force("force", "publish", who).status == 200
        [publish] = master.builds("publish", 1)
        [step] = [s for n, s in master.steps(publish).items() if n.startswith("fdroid-bb")]
        assert publish["results"] == step["results"] == WARNINGS, step
        assert "refused   a.bad_1: a.bad_1.apk says it is `org.example.bank` 1" in step["text"]
        [update] = master.builds("update", 1)
        assert update["results"] == SUCCESS, master.steps(update)
        assert signers(repository.path / "repo/b.good_1.apk")
        assert (repository.path / "repo/index-v2.json").exists()
        # All of it is refused, or there is none: what follows has nothing to do.
        repository.metadata("a.worse")
        repository.built("a.worse", apk=other)
        for number, result in ((2, WARNINGS), (3, SUCCESS)):
            assert master.force("force", "publish", who).status == 200
            publish = master.builds("publish", number)[-1]
            assert publish["results"] == result, master.steps(publish)
        # Nothing can be signed: that is a failure, and nothing follows.
        (repository.folder / "keystore.p12").unlink()
        repository.metadata("c.next")
        repository.built("c.next")
        assert master.force("force", "publish", who).status == 200
        publish = master.builds("publish", 4)[-1]
        assert publish["results"] == FAILURE
        assert len(master.builds("update", 1)) == 1
        assert repository.list("built") == {"c.next_1"}
