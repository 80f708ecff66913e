# SPDX-License-Identifier: GPL-2.0-or-later
"""Where on the clock the apps are polled."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from fdroid_bb.common.placement import next_turn, place

HOURS = 60 * 60
INTERVAL = 6 * HOURS
IDS = [f"org.example.app{n}" for n in range(3926)]


def test_turns_are_spread_over_the_interval() -> None:
    minutes = Counter(place(app_id, INTERVAL) // 60 for app_id in IDS)
    # Chance alone fills one minute of 360 with 24 of these; the ids of fdroiddata are held to
    # twice the mean below.
    assert max(minutes.values()) <= 2.5 * len(IDS) / 360
    hours = Counter(place(app_id, INTERVAL) // HOURS for app_id in IDS)
    assert len(hours) == 6
    assert max(hours.values()) <= 1.1 * len(IDS) / 6


def test_the_next_turn_is_at_most_one_interval_away_and_does_not_depend_on_the_start() -> None:
    for app_id in IDS[:200]:
        turn = next_turn(app_id, INTERVAL, 1_800_000_000)
        assert 1_800_000_000 < turn <= 1_800_000_000 + INTERVAL
        # A master that starts at any moment before it has the same turn before it.
        assert next_turn(app_id, INTERVAL, turn - 0.001) == turn
        assert next_turn(app_id, INTERVAL, turn - INTERVAL) == turn
        assert next_turn(app_id, INTERVAL, turn) == turn + INTERVAL


def test_a_place_never_changes() -> None:
    # A new release of fdroid-bb must not move every app.
    assert place("org.fdroid.fdroid", INTERVAL) == 15044


def test_no_minute_of_the_real_apps_has_more_than_twice_the_mean(corpus: Path) -> None:
    ids = []
    for path in (corpus / "metadata").glob("*.yml"):
        fields = dict(re.findall(r"^([A-Za-z]+): *(.*)$", path.read_text(), re.MULTILINE))
        mode = fields.get("UpdateCheckMode", "None")
        if "Disabled" not in fields and mode not in ("None", "Static"):
            ids.append(path.stem)
    assert len(ids) > 3900
    minutes = Counter(place(app_id, INTERVAL) // 60 for app_id in ids)
    assert max(minutes.values()) <= 2 * len(ids) / 360
