# SPDX-License-Identifier: GPL-2.0-or-later
"""The alert rules: each is about a metric that there is."""

from __future__ import annotations

import re

import pytest
import yaml

from masters import ROOT

_GROUPS = yaml.safe_load((ROOT / "recipes/alerts.yml").read_text())["groups"]
_RULES = {rule["alert"]: rule for group in _GROUPS for rule in group["rules"]}

# A metric's name is written as it is, but for the prefixes that the code puts before many.
_SOURCES = "".join(
    path.read_text()
    for pattern in ("templates/fdroid_bb/*.py", "src/bin/fdroid-bb/*.rs")
    for path in ROOT.glob(pattern)
)


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
