# SPDX-License-Identifier: GPL-2.0-or-later
"""The alert rules: each is about a metric that there is, and outages of forges raise them.

Prometheus's own promtool reads the metrics of simulated days, as the masters write them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from forges import (
    EPOCH,
    GOOD,
    HOUR,
    INTERVAL,
    MINUTE,
    REFUSED,
    App,
    Forge,
    Reply,
    Simulation,
    at_one_second,
    host,
    like_fdroiddata,
)
from masters import PATIENCE, ROOT

RULES = ROOT / "recipes/alerts.yml"
_GROUPS = yaml.safe_load(RULES.read_text())["groups"]
_RULES = {rule["alert"]: rule for group in _GROUPS for rule in group["rules"]}

# A metric's name is written as it is, but for the prefixes that the code puts before many.
_SOURCES = "".join(
    path.read_text()
    for pattern in ("templates/fdroid_bb/*/*.py", "src/bin/fdroid-bb/*.rs")
    for path in ROOT.glob(pattern)
)

# Minutes between two readings of the metrics.
_STEP = 2


def test_no_name_is_used_twice() -> None:
    assert len(_RULES) == sum(len(group["rules"]) for group in _GROUPS)


@pytest.mark.parametrize("name", _RULES)
def test_an_alert_is_about_a_metric_that_there_is(name: str) -> None:
    metrics = set(re.findall(r"\bfdroid_bb_[a-z_]+", _RULES[name]["expr"]))
    assert metrics
    for metric in metrics:
        short = metric.removeprefix("fdroid_bb_").removeprefix("app_source_").removesuffix("_total")
        assert short in _SOURCES, metric
    assert {"summary", "description"} <= set(_RULES[name]["annotations"])
    assert _RULES[name]["labels"]["severity"] in ("critical", "warning", "info")


@pytest.fixture(scope="module")
def promtool() -> str:
    """Prometheus's tool to test rules."""
    folder = os.environ.get("FDROID_BB_TESTBED", "")
    found = shutil.which("promtool", path=f"{folder}:{os.environ['PATH']}")
    if found is None:
        pytest.skip("no promtool: make it ready with ./dev testbed")
    return found


class Readings:
    """The metrics of a simulation, as Prometheus reads them."""

    def __init__(self) -> None:
        self.count = 0
        self.series: dict[str, list[str]] = {}

    def read(self, simulation: Simulation) -> None:
        """Read all once."""
        report = simulation.sources._report
        assert report is not None
        for line in generate_latest(report._registry).decode().splitlines():
            name, _, value = line.rpartition(" ")
            if line.startswith("#") or "_created" in name:
                continue
            if "timestamp_seconds" in name:
                # Time begins with 0 in promtool's tests.
                value = str(float(value) - EPOCH)
            values = self.series.setdefault(name, ["_"] * self.count)
            values.append(value)
        self.count += 1
        for values in self.series.values():
            values += ["_"] * (self.count - len(values))


def raised(promtool: str, folder: Path, readings: Readings) -> set[str]:
    """The alerts that fire at some time."""
    minutes = (readings.count - 1) * _STEP
    tests = [
        {
            "expr": f'max_over_time(count(ALERTS{{alertname="{name}",alertstate="firing"}})'
            f"[{minutes}m:{_STEP}m]) > bool 0",
            "eval_time": f"{minutes}m",
            "exp_samples": [{"labels": "{}", "value": 1}],
        }
        for name in _RULES
    ]
    found = set()
    for test, name in zip(tests, _RULES, strict=True):
        document = {
            "rule_files": [str(RULES)],
            "evaluation_interval": f"{_STEP}m",
            "tests": [
                {
                    "interval": f"{_STEP}m",
                    "input_series": [
                        {"series": series, "values": " ".join(values)}
                        for series, values in readings.series.items()
                    ],
                    "promql_expr_test": [test],
                }
            ],
        }
        path = folder / f"{name}.yml"
        path.write_text(json.dumps(document))
        done = subprocess.run(
            [promtool, "test", "rules", str(path)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert "FAILED" in done.stdout + done.stderr or done.returncode == 0, done.stderr
        if done.returncode == 0:
            found.add(name)
    return found


def _down(now: float, url: str) -> Reply:
    away = host(url) == "github.com" and INTERVAL <= now < INTERVAL + HOUR
    return REFUSED if away else GOOD


def _slow(now: float, url: str) -> Reply:
    slow = host(url) == "github.com" and INTERVAL <= now < INTERVAL + 2 * HOUR
    return Reply(seconds=60) if slow else GOOD


def _away(now: float, _: str) -> Reply:
    return REFUSED if INTERVAL <= now < INTERVAL + HOUR else GOOD


def _told(now: float, url: str) -> Reply:
    told = host(url) == "github.com" and INTERVAL <= now < INTERVAL + 10 * MINUTE
    return Reply(429, retry_after=40 * MINUTE) if told else GOOD


def _missing(_: float, url: str) -> Reply:
    return Reply(404) if "together" in url or url.endswith("dead.git") else GOOD


def _many_missing(_: float, url: str) -> Reply:
    return Reply(404) if url.endswith(("0.git", "5.git")) else GOOD


@pytest.mark.parametrize(
    ("forge", "hours", "wanted"),
    [
        (lambda *_: GOOD, 8, set()),
        (_down, 8, {"AppSourceHostDown"}),
        (_slow, 9, {"AppSourceQueueLong"}),
        (_away, 8, {"AppSourceNetworkAway"}),
        (_told, 8, {"AppSourceHostToldUsToWait"}),
        (_missing, 24, {"AppSourceDead"}),
        (_many_missing, 8, {"AppSourceFailing"}),
    ],
    ids=["all is well", "down", "slow", "network", "told to wait", "dead", "many fail"],
)
def test_what_happens_to_forges_raises_an_alert(
    promtool: str, tmp_path: Path, forge: Forge, hours: int, wanted: set[str]
) -> None:
    apps = [
        *like_fdroiddata(github=1000, others=150),
        *at_one_second(6),
        App("org.example.dead", "https://dead.example.org/dead.git"),
    ]
    readings = Readings()
    ticks = iter(range(hours * 60))

    def each_minute() -> None:
        if next(ticks) % _STEP == 0:
            readings.read(simulation)

    with Simulation(apps, forge, reports=True) as simulation:
        simulation.run(hours * HOUR, each_minute)
    found = raised(promtool, tmp_path, readings)
    # Those of what is not simulated here: `watch`, health, workers.
    about_sources = {name for name in found if name.startswith("AppSource")}
    assert wanted <= about_sources
    if not wanted:
        assert not about_sources
