# SPDX-License-Identifier: GPL-2.0-or-later
"""Hours and days of polls, as many as fdroiddata has: outages, limits, dead and broken ones.

The shipped classes on a clock that is turned by hand; see forges.py.
"""

from __future__ import annotations

import itertools

import pytest
from twisted.internet import defer
from twisted.python import log as twisted_log

from fdroid_bb.polling import hosts, slots
from fdroid_bb.polling.slots import Slots
from forges import (
    DAY,
    EPOCH,
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
    like_fdroiddata,
)

GITHUB = "github.com"


def at_github(url: str) -> bool:
    return host(url) == GITHUB


def elsewhere(url: str) -> bool:
    return not at_github(url)


class Job:
    """A poll that ends when it is told to, or before it has begun."""

    def __init__(self, slots: Slots, queue: str, log: list[Job], *, at_once: bool = False) -> None:
        self._slots = slots
        self.queue = queue
        self.log = log
        self._at_once = at_once

    def begin(self) -> None:
        self.log.append(self)
        if self._at_once:
            self._slots.end(self)


def test_ten_thousand_that_wait_and_return_at_once_lose_no_slot() -> None:
    queue, began = Slots(), list[Job]()
    first = [Job(queue, "one", began) for _ in range(2)]
    rest = [Job(queue, "one", began, at_once=True) for _ in range(10_000)]
    for job in first + rest:
        queue.enter(job)
    assert (began, queue.in_use, queue.waiting) == (first, 2, 10_000)
    # Those that give up, in any order.
    given_up = rest[1::2]
    for job in reversed(given_up):
        queue.withdraw(job)
    assert queue.waiting == 5_000
    queue.end(first[0])
    assert (began, queue.in_use, queue.waiting) == (first + rest[::2], 1, 0)
    queue.end(first[1])
    queue.end(first[1])
    assert queue.in_use == 0
    again = [Job(queue, f"host{n}", began) for n in range(20)]
    for job in again:
        queue.enter(job)
    assert queue.in_use == slots.IN_ALL


def test_a_job_that_raises_gives_its_slot_back() -> None:
    queue, began = Slots(), list[Job]()

    class Broken(Job):
        def begin(self) -> None:
            raise RuntimeError("broken")

    errors = list[object]()
    twisted_log.addObserver(errors.append)
    try:
        for n in range(20):
            queue.enter(Broken(queue, f"host{n}", began))
    finally:
        twisted_log.removeObserver(errors.append)
    assert len(errors) == 20
    assert (queue.in_use, queue.waiting) == (0, 0)


def test_hosts_take_turns_and_none_has_more_than_its_share() -> None:
    queue, began = Slots(), list[Job]()
    busy = [Job(queue, "busy", began) for _ in range(100)]
    others = [Job(queue, f"host{n}", began) for n in range(10)]
    for job in busy + others:
        queue.enter(job)
    assert [job.queue for job in began] == ["busy"] * 2 + [f"host{n}" for n in range(6)]
    # A long queue of one host delays no other.
    queue.end(busy[0])
    queue.end(busy[1])
    assert began[8:] == [busy[2], others[6]]
    for job in others[:3]:
        queue.end(job)
    assert began[10:] == others[7:]
    queue.end(others[3])
    assert began[13:] == [busy[3]]
    assert queue.waiting == 96


def slow_then_down(now: float, url: str) -> Reply:
    """Answer in 30 s for an hour, then not at all for ten minutes, then well: only GitHub."""
    if at_github(url) and INTERVAL <= now < INTERVAL + HOUR:
        return Reply(seconds=30)
    if at_github(url) and INTERVAL + HOUR <= now < INTERVAL + HOUR + 10 * MINUTE:
        return REFUSED
    return GOOD


def until_up(simulation: Simulation, name: str, seconds: float) -> float:
    """How long a host is still taken for down."""
    start = simulation.now
    while simulation.down(name) and simulation.now - start < seconds:
        simulation.run(MINUTE)
    return simulation.now - start


def test_a_slow_hour_and_an_outage_are_made_up_for_within_two_hours() -> None:
    with Simulation(like_fdroiddata(), slow_then_down) as simulation:
        simulation.run(INTERVAL + HOUR + 5 * MINUTE)
        assert simulation.down(GITHUB)
        simulation.run(5 * MINUTE)
        back = simulation.now
        assert simulation.overdue() > 300
        assert until_up(simulation, GITHUB, 15 * MINUTE) < 15 * MINUTE
        simulation.run(back + 2 * HOUR - simulation.now)
        assert simulation.overdue() == 0
        assert simulation.turns_missed(back + HOUR, simulation.now - MINUTE) == 0
        # And so it stays.
        simulation.run(INTERVAL)
        assert simulation.overdue() == 0
        assert simulation.sources.slots.waiting == 0
        # The other hosts never noticed.
        assert simulation.longest_gap(elsewhere) <= 1.01


def test_ten_thousand_repositories_wait_for_a_slow_host_and_all_are_polled() -> None:
    def forge(now: float, _: str) -> Reply:
        return TIMEOUT if now < 1.5 * INTERVAL else GOOD

    with Simulation(like_fdroiddata(github=10_000, others=0), forge) as simulation:
        simulation.run(1.5 * INTERVAL)
        assert simulation.down(GITHUB)
        assert until_up(simulation, GITHUB, 15 * MINUTE) < 15 * MINUTE
        # All of them at twice the normal rate, beside the usual turns.
        simulation.run(3 * HOUR)
        assert simulation.overdue() == 0
        assert simulation.sources.slots.waiting == 0


@pytest.mark.parametrize(
    ("status", "broken"), [(404, 24), (404, 6), (401, 6), (403, 6), (410, 6), (301, 6)]
)
def test_broken_repositories_say_nothing_of_their_host(status: int, broken: int) -> None:
    together = at_one_second(broken)
    bad = {app.url for app in together}
    apps = [*like_fdroiddata(github=100, others=20), *together]
    with Simulation(apps, lambda _, url: Reply(status) if url in bad else GOOD) as simulation:
        downs = list[int]()
        simulation.run(DAY, lambda: downs.append(simulation.hosts_down()))
        assert max(downs) == 0
        assert simulation.longest_gap(lambda url: url not in bad) <= 1.1
        # Each is asked once an interval, not again and again.
        assert simulation.asked(0, DAY, lambda url: url in bad) == broken * DAY // INTERVAL
        assert sum(r.failing is not None for _, r in simulation.joined) == broken


def test_four_hundred_broken_repositories_among_all_of_fdroiddata() -> None:
    apps = like_fdroiddata()
    bad = {app.url for app in apps[:3161:8]}
    assert len(bad) > 390
    with Simulation(apps, lambda _, url: Reply(404) if url in bad else GOOD) as simulation:
        downs = list[int]()
        simulation.run(2 * INTERVAL, lambda: downs.append(simulation.hosts_down()))
        assert max(downs) == 0
        assert simulation.longest_gap(lambda url: url not in bad) <= 1.1


@pytest.mark.parametrize(
    "reply", [Reply(429), Reply(500), Reply(502), Reply(503), Reply(408), REFUSED, TIMEOUT]
)
def test_what_concerns_the_host_marks_it_down(reply: Reply) -> None:
    apps = like_fdroiddata(github=100, others=20)
    with Simulation(apps, lambda _, url: reply if at_github(url) else GOOD) as simulation:
        simulation.run(HOUR)
        assert simulation.down(GITHUB)
        assert simulation.hosts_down() == 1


@pytest.mark.parametrize("reply", [Reply(500), TIMEOUT])
@pytest.mark.parametrize("others", [1, 2, 5, 100])
def test_one_repository_that_never_answers_delays_no_other(reply: Reply, others: int) -> None:
    apps = [App(f"org.n{n}", f"https://{GITHUB}/{n}.git") for n in range(1 + others)]
    broken = apps[0].url
    with Simulation(apps, lambda _, url: reply if url == broken else GOOD) as simulation:
        simulation.run(DAY)
        assert simulation.longest_gap(lambda url: url != broken) <= 1.1
        # Repeated a few times, in case it was the host, but not without end.
        assert simulation.asked(0, DAY, lambda url: url == broken) <= 5 * 4


@pytest.mark.parametrize("reply", [REFUSED, TIMEOUT])
def test_the_first_answer_after_an_outage_of_the_network_has_all_others_asked(reply: Reply) -> None:
    def forge(now: float, _: str) -> Reply:
        return reply if INTERVAL <= now < INTERVAL + HOUR else GOOD

    with Simulation(like_fdroiddata(), forge) as simulation:
        simulation.run(INTERVAL + HOUR)
        back = simulation.now
        assert simulation.sources.network_away
        assert simulation.hosts_down() > 10
        simulation.run(2 * MINUTE)
        assert simulation.hosts_down() == 0
        assert not simulation.sources.network_away
        simulation.run(INTERVAL)
        minutes = simulation.minutes()
        normal = sum(count for minute, count in minutes.items() if minute < 360) / 360
        # What was missed at twice the normal rate beside the usual turns, and no faster.
        after = [minutes[int(back // MINUTE) + n] for n in range(3, 25)]
        assert 2.5 * normal <= sum(after) / len(after) <= 3.5 * normal
        # Those whose turn it was had it.
        assert simulation.turns_missed(back + 2 * MINUTE, back + INTERVAL - 2 * MINUTE) == 0
        assert simulation.longest_gap(lambda _: True) <= 1 + (HOUR + 45 * MINUTE) / INTERVAL


def test_a_dead_host_is_not_taken_for_the_network_and_not_asked_by_each_answer() -> None:
    apps = [*like_fdroiddata(github=400, others=100), App("org.dead", "https://dead.example/x")]
    with Simulation(apps, lambda _, url: REFUSED if "dead" in url else GOOD) as simulation:
        away = list[bool]()
        simulation.run(DAY, lambda: away.append(simulation.sources.network_away))
        assert not any(away)
        assert simulation.asked(0, DAY, lambda url: "dead" in url) <= 30


@pytest.mark.parametrize("status", [429, 503])
def test_a_host_that_tells_us_to_wait_is_left_alone_and_no_other_is(status: int) -> None:
    start, wait = INTERVAL, 40 * MINUTE

    def forge(now: float, url: str) -> Reply:
        if at_github(url) and start <= now < start + 10 * MINUTE:
            return Reply(status, retry_after=40 * MINUTE)
        # Some other host fails meanwhile, and comes back.
        if host(url) == "codeberg.org" and start + 5 * MINUTE <= now < start + 20 * MINUTE:
            return REFUSED
        return GOOD

    with Simulation(like_fdroiddata(), forge) as simulation:
        simulation.run(start + 5 * MINUTE)
        asked = simulation.asked(start, start + 5 * MINUTE, at_github)
        assert 1 <= asked <= slots.AT_ONE_HOST
        assert simulation.down(GITHUB)
        # Whatever happens elsewhere, and also over a restart.
        simulation.run(10 * MINUTE)
        simulation.stop()
        simulation.clock.advance(MINUTE)
        simulation.start()
        simulation.run(start + wait - simulation.now)
        assert simulation.asked(start, start + wait, at_github) == asked
        simulation.run(2 * HOUR)
        assert simulation.overdue() == 0
        others = [n for n in simulation.sources.hosts if n not in (GITHUB, "codeberg.org")]
        assert len(others) > 20
        assert simulation.longest_gap(lambda url: host(url) in others) <= 1.05


@pytest.mark.parametrize("seconds", [0, 10**10])
def test_no_host_can_have_itself_left_alone_for_ever_nor_asked_without_pause(seconds: int) -> None:
    app = App("org.alone", "https://alone.example.org/x.git")
    with Simulation([app], lambda *_: Reply(429, retry_after=seconds)) as simulation:
        simulation.run(DAY)
        assert DAY / hosts.LONGEST_WAIT - 1 <= len(simulation.calls[app.url]) <= 40


@pytest.mark.parametrize("reply", [REFUSED, TIMEOUT, Reply(503), Reply(404)])
def test_a_dead_repository_alone_on_its_host_is_asked_no_more_than_a_live_one(reply: Reply) -> None:
    apps = [App(f"org.n{n}", f"https://n{n}.example.org/x.git") for n in range(20)]
    dead, live = apps[0].url, apps[1].url

    def asked(simulation: Simulation, url: str, day: int) -> int:
        return simulation.asked(day * DAY, (day + 1) * DAY, lambda other: other == url)

    with Simulation(apps, lambda _, url: reply if url == dead else GOOD) as simulation:
        simulation.run(2 * DAY)
        # Also where the master is restarted.
        simulation.stop()
        simulation.clock.advance(MINUTE)
        simulation.start()
        simulation.run(2 * DAY)
        # On its first day somebody may be mending it.
        assert asked(simulation, dead, 0) <= 30
        for day in (1, 2, 3):
            # It may come back.
            assert 3 <= asked(simulation, dead, day) <= asked(simulation, live, day)


def test_an_answer_with_nothing_in_it_is_a_failure_after_three_intervals() -> None:
    apps = like_fdroiddata(github=20, others=0)
    gone, short = apps[0].url, apps[1].url

    def forge(now: float, url: str) -> Reply:
        return Reply(refs=not (url == gone or (url == short and now < 2 * INTERVAL)))

    with Simulation(apps, forge) as simulation:
        found = {app.url: r for app, r in simulation.joined}[gone]
        simulation.run(2 * INTERVAL)
        assert found.failing is None
        assert not any(r.failing for _, r in simulation.joined)
        # A restart does not begin to count anew.
        simulation.stop()
        simulation.clock.advance(MINUTE)
        simulation.start()
        simulation.run(INTERVAL + MINUTE)
        failing = [app.url for app, r in simulation.joined if r.failing is not None]
        assert failing == [gone]
        assert simulation.hosts_down() == 0
        found = {app.url: r for app, r in simulation.joined}[gone]
        assert found.dead
        assert found.failing is not None
        assert "without HEAD" in found.failing.why
        simulation.forge = lambda *_: GOOD
        simulation.run(INTERVAL)
        assert not any(r.failing for _, r in simulation.joined)


def test_restarts_starve_nobody_and_bunch_nobody() -> None:
    apps = like_fdroiddata()
    with Simulation(apps) as simulation:
        simulation.run(INTERVAL)
        quiet = max(simulation.minutes().values())
        # Twelve restarts within one interval, each at another moment, each takes a while.
        for number in range(12):
            simulation.run(1000 + 97 * number)
            simulation.stop()
            simulation.clock.advance(20 + 10 * number)
            simulation.start()
        simulation.run(INTERVAL)
        assert len(simulation.calls) == len(apps)
        # Who had the turn while the master was down had it soon after, not an interval later.
        assert simulation.longest_gap(lambda _: True) <= 1 + 20 * MINUTE / INTERVAL
        # What was missed comes at twice the normal rate, and the fullest minute had more than that.
        normal = len(apps) / (INTERVAL / MINUTE)
        assert max(simulation.minutes().values()) <= quiet + 2.5 * normal


def test_the_state_of_the_version_before_is_read() -> None:
    apps = [App(f"org.n{n}", f"https://n{n % 3}.example.org/{n}.git") for n in range(6)]
    key = f"refs/tags/ of {apps[0].url}"
    simulation = Simulation(apps, lambda _, url: Reply(404) if url == apps[0].url else GOOD)
    simulation.state.saved = {
        "alive": EPOCH - 60,
        "failing": {key: [EPOCH - DAY, 4, "fatal: gone"]},
        "owed": [f"refs/tags/ of {apps[5].url}"],
    }
    with simulation:
        first = {app.url: r for app, r in simulation.joined}[apps[0].url]
        assert first.failing is not None
        assert (first.failing.since, first.failing.polls) == (EPOCH - DAY, 4)
        simulation.run(10 * MINUTE)
        assert simulation.asked(0, 10 * MINUTE, lambda url: url == apps[5].url) == 1


def test_an_outage_of_the_largest_host_is_not_followed_by_a_rush() -> None:
    def forge(now: float, url: str) -> Reply:
        return REFUSED if at_github(url) and INTERVAL <= now < INTERVAL + HOUR else GOOD

    with Simulation(like_fdroiddata(), forge) as simulation:
        simulation.run(INTERVAL)
        quiet = max(simulation.minutes(at_github).values())
        simulation.run(HOUR)
        # The other hosts' polls went on as ever.
        assert simulation.turns_missed(INTERVAL, INTERVAL + HOUR - MINUTE) <= 3161 / 5
        assert simulation.longest_gap(elsewhere, INTERVAL - HOUR) <= 1.01
        simulation.run(INTERVAL)
        normal = 3161 / (INTERVAL / MINUTE)
        assert max(simulation.minutes(at_github).values()) <= quiet + 2.5 * normal
        assert simulation.overdue() == 0


def test_turns_of_the_same_repository_do_not_pile_up() -> None:
    app = App("org.slow", "https://slow.example.org/x.git", 60)
    with Simulation([app], lambda *_: Reply(seconds=600)) as simulation:
        simulation.run(HOUR)
        times = [when for when, _ in simulation.calls[app.url]]
        assert all(b - a >= 600 for a, b in itertools.pairwise(times))
        assert simulation.sources.slots.waiting == 0


def test_leaving_while_waiting_loses_no_slot() -> None:
    apps = like_fdroiddata(github=300, others=0)
    for app in apps:
        app.interval = 60
    with Simulation(apps, lambda *_: Reply(seconds=30)) as simulation:
        simulation.run(10 * MINUTE)
        assert simulation.sources.slots.waiting > 200
        left, stay = simulation.joined[:290], simulation.joined[290:]
        for app, repo in left:
            assert isinstance(simulation.sources.leave(app, repo), defer.Deferred)
        simulation.run(5 * MINUTE)
        now = simulation.now
        simulation.run(10 * MINUTE)
        assert simulation.sources.slots.in_use <= slots.AT_ONE_HOST
        assert simulation.asked(now, simulation.now) >= 10 * 2 * 2 - 2
        assert {app.url for app, _ in stay} >= {
            url for url, calls in simulation.calls.items() if calls[-1][0] > now
        }
