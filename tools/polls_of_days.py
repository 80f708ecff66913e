# SPDX-License-Identifier: GPL-2.0-or-later
"""What tools/bench_polls.py measures, with the runtime that is on PYTHONPATH: days of polls.

    tools/polls_of_days.py POLLERS

POLLERS is the `pollers.py` of a master. Prints an object of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from forges import (
    DAY,
    GOOD,
    HOUR,
    INTERVAL,
    MINUTE,
    REFUSED,
    TIMEOUT,
    App,
    Reply,
    Simulation,
    at_one_second,
    host,
    read_pollers,
)

GITHUB = "github.com"


def measure(pollers: Path) -> dict[str, str]:
    """All of them, with the runtime that is on the path."""
    apps = read_pollers(pollers)
    found: dict[str, str] = {}
    for rows in (slow_then_down, broken_together, four_hundred_broken, network, told, dead):
        began = time.monotonic()
        found |= rows(apps)
        print(f"{rows.__name__}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return found


def slow_then_down(apps: list[App]) -> dict[str, str]:
    """Each answer takes 30 s for an hour, then none comes for ten minutes."""

    def forge(now: float, url: str) -> Reply:
        if host(url) == GITHUB and INTERVAL <= now < INTERVAL + HOUR:
            return Reply(seconds=30)
        if host(url) == GITHUB and INTERVAL + HOUR <= now < INTERVAL + HOUR + 10 * MINUTE:
            return REFUSED
        return GOOD

    what = "slow, then down"
    with Simulation(apps, forge) as simulation:
        simulation.run(INTERVAL + HOUR + 10 * MINUTE)
        back = simulation.now
        up = until(simulation, lambda: not simulation.down(GITHUB), 2 * HOUR)
        simulation.run(back + 2 * HOUR - simulation.now)
        overdue = simulation.overdue()
        simulation.run(DAY - 2 * HOUR)
        # Those that had begun before are not counted.
        calls = simulation.asked(back + 5 * MINUTE, back + DAY, lambda url: host(url) == GITHUB)
        return {
            f"{what}: marked up after": up,
            f"{what}: calls in the 24 h after": f"{calls:,}",
            f"{what}: overdue after 2 h": f"{overdue:,}",
        }


def broken_together(apps: list[App]) -> dict[str, str]:
    """Some repositories answer 404, all at the same second of the interval."""
    found = {}
    for count in (6, 24):
        bad = at_one_second(count)
        found |= broken(f"{count} × 404 at one second", [*apps, *bad], {app.url for app in bad})
    return found


def four_hundred_broken(apps: list[App]) -> dict[str, str]:
    """Many do, spread over the interval."""
    github = [app.url for app in apps if host(app.url) == GITHUB]
    return broken("400 × 404", apps, set(github[:: len(github) // 400][:400]))


def broken(what: str, apps: list[App], bad: set[str]) -> dict[str, str]:
    """Two days with repositories that are not there."""
    with Simulation(apps, lambda _, url: Reply(404) if url in bad else GOOD) as simulation:
        downs: list[bool] = []
        simulation.run(2 * DAY, lambda: downs.append(simulation.down(GITHUB)))
        gap = simulation.longest_gap(lambda url: url not in bad)
        return {
            f"{what}: host down": f"{100 * sum(downs) / len(downs):.0f} %",
            f"{what}: longest gap of good ones": f"{gap:.2f} intervals",
        }


def network(apps: list[App]) -> dict[str, str]:
    """No host answers for an hour."""

    def forge(now: float, _: str) -> Reply:
        return TIMEOUT if INTERVAL <= now < INTERVAL + HOUR else GOOD

    what = "network away for 1 h"
    with Simulation(apps, forge) as simulation:
        simulation.run(INTERVAL + HOUR)
        back = simulation.now
        up = until(simulation, lambda: simulation.hosts_down() == 0, 2 * HOUR)
        simulation.run(back + INTERVAL - simulation.now)
        minutes = simulation.minutes()
        usual = sum(n for minute, n in minutes.items() if minute < INTERVAL / MINUTE) / 360
        # From the third minute: until then the hosts are found to be up.
        making_up = [minutes[int(back // MINUTE) + n] for n in range(3, 25)]
        missed = simulation.turns_missed(back + 2 * MINUTE, back + INTERVAL - 2 * MINUTE)
        return {
            f"{what}: all hosts up after": up,
            f"{what}: calls a minute while making up": (
                f"{sum(making_up) / len(making_up) / usual:.1f} × usual"
            ),
            f"{what}: turns missed after that": f"{missed:,}",
        }


def told(apps: list[App]) -> dict[str, str]:
    """A host says for ten minutes that it wants to be left alone for 40."""

    def forge(now: float, url: str) -> Reply:
        if host(url) == GITHUB and INTERVAL <= now < INTERVAL + 10 * MINUTE:
            return Reply(429, retry_after=40 * MINUTE)
        return GOOD

    with Simulation(apps, forge) as simulation:
        simulation.run(INTERVAL + 40 * MINUTE)
        calls = simulation.asked(INTERVAL, simulation.now, lambda url: host(url) == GITHUB)
        return {"429 with Retry-After of 40 min: calls meanwhile": f"{calls:,}"}


def dead(apps: list[App]) -> dict[str, str]:
    """A host with one repository never answers again."""
    alone = "https://dead.example.org/x.git"
    some = [*apps[:50], App("org.example.dead", alone)]
    with Simulation(some, lambda _, url: REFUSED if url == alone else GOOD) as simulation:
        # It was asked first, and found to be dead, within the first interval.
        simulation.run(INTERVAL + 2 * DAY)
        calls = simulation.asked(INTERVAL + DAY, INTERVAL + 2 * DAY, lambda url: url == alone)
        return {"dead for a day, alone on its host: calls a day": str(calls)}


def until(simulation: Simulation, done: Callable[[], bool], most: float) -> str:
    """How long it takes, in simulated minutes."""
    start = simulation.now
    while not done() and simulation.now - start < most:
        simulation.run(MINUTE)
    minutes = (simulation.now - start) / MINUTE
    return f"{minutes:.0f} min" if done() else f"more than {minutes:.0f} min"


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
