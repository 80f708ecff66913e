# SPDX-License-Identifier: GPL-2.0-or-later
"""Tag patterns: Python's `re.match`, which fdroidserver applies, and the RE2 pattern that the
program makes of it accept the same tags.
"""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import re2

from masters import ROOT
from program import apps

CONFIG = ROOT / "fdroid-bb.toml"

# `[[a]` and the like: Python might some day read them otherwise.
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

# Python's own, which has no public name.
_parser: Any = import_module("re._parser")

# Of what tags are made here, for random ones.
ALPHABET = "av1.-_]^&~[{},x ZÄé\t"

TYPICAL = [
    *("v1.0", "1.2.3", "v1.2.3-beta1", "release-1.2", "release/2024.01", "V1", "1", "0", "v"),
    *("v1.0-fdroid", "fdroid-1.0", "1.0_fdroid", "nightly", "latest", "v1.0rc2", "1.0.0+12"),
    *("version_1.2+34_fdroid", "android/1.0", "app-v2.1", "v10.20.30", "2024-01-31", "1_2_3"),
    *("v1.0(12)", "x1.0", "refs", "v1..2", ".1", "1.", "-1", "Release_1.0", "RELEASE-1"),
]


def compiled(pattern: str) -> Any:
    """An RE2 pattern, as AppGitPoller compiles it."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def mutated(random_: random.Random, tag: str, alphabet: str) -> str:
    """A tag with a character more, less or other than it has."""
    at = random_.randrange(len(tag) + 1)
    what = random_.randrange(4)
    if what == 0:
        return tag[:at] + random_.choice(alphabet) + tag[at:]
    if what == 1:
        return tag[:at] + tag[at + 1 :]
    if what == 2:
        return tag[:at] + random_.choice(alphabet) + tag[at + 1 :]
    return tag[at:] + tag[:at]


def samples(random_: random.Random, pattern: str, count: int) -> list[str]:
    """Texts that the pattern may accept, most of them: anchors and look-around are passed over."""
    parsed = _parser.parse(pattern)
    return [_sample(random_, parsed) for _ in range(count)]


def _sample(random_: random.Random, parsed: Any) -> str:
    """A text for a part of a pattern, as Python itself has parsed it."""
    out = ""
    for op, value in parsed:
        match str(op):
            case "LITERAL":
                out += chr(value)
            case "NOT_LITERAL" | "ANY":
                out += random_.choice(ALPHABET)
            case "IN":
                out += _one_of(random_, value)
            case "MAX_REPEAT" | "MIN_REPEAT":
                least, most, inner = value
                times = random_.randint(least, min(int(most), least + 2))
                out += "".join(_sample(random_, inner) for _ in range(min(times, 20)))
            case "SUBPATTERN":
                out += _sample(random_, value[-1])
            case "BRANCH":
                out += _sample(random_, random_.choice(value[1]))
    return out


def _one_of(random_: random.Random, members: Any) -> str:
    """A letter of a class; of one that is negated, any."""
    op, value = random_.choice(members)
    match str(op):
        case "LITERAL":
            return chr(value)
        case "RANGE":
            return chr(random_.randint(*value))
        case "CATEGORY":
            kinds = {"DIGIT": "0127", "SPACE": " \t", "WORD": "aZ_9"}
            return random_.choice(kinds.get(str(value).removeprefix("CATEGORY_"), "-. +"))
    return random_.choice(ALPHABET)


def differences(python: str, translated: str, tags: Iterable[str]) -> list[str]:
    """The tags on which the two patterns do not agree."""
    ours = re.compile(python)
    theirs = compiled(translated)
    return [tag for tag in tags if (ours.match(tag) is None) != (theirs.match(tag) is None)]


def test_each_pattern_of_the_corpus_accepts_the_same_tags(corpus: Path) -> None:
    random_ = random.Random(20261122)
    found = {
        name: app
        for name, app in apps(CONFIG, corpus).items()
        # Buildbot's own pollers of hg and svn know no patterns.
        if app.get("active") and app["UpdateCheckMode"].startswith("Tags ")
        if app["poller"]["watch"] == "git-tags"
    }
    assert len(found) > 800
    commits = [str(build["commit"]) for app in found.values() for build in app["Builds"][-3:]]
    commits = [commit for commit in commits if not re.fullmatch(r"[0-9a-f]{40}", commit)]
    by_pattern: dict[str, list[dict[str, Any]]] = {}
    for app in found.values():
        by_pattern.setdefault(app["UpdateCheckMode"].removeprefix("Tags "), []).append(app)
    assert len(by_pattern) > 200

    untranslated = 0
    compared = accepted = 0
    wrong = {}
    for pattern, of in by_pattern.items():
        # What is polled is told by the pattern alone.
        [translated] = {app["poller"]["tags"] for app in of}
        if translated == "":
            assert "(?!" in pattern, pattern
            untranslated += len(of)
            continue
        own = {str(build["commit"]) for app in of for build in app["Builds"]}
        near = [*own, *samples(random_, pattern, 40), *TYPICAL]
        tags = {*near, *random_.sample(commits, 100)}
        for tag in list(near):
            tags |= {mutated(random_, tag, "0123456789.vV-_+/ab()") for _ in range(3)}
        tags.discard("")
        if odd := differences(pattern, translated, tags):
            wrong[pattern] = (translated, odd[:5])
        matches = sum(re.match(pattern, tag) is not None for tag in tags)
        # A comparison in which nothing is accepted shows little.
        assert matches, f"no tag at hand matches {pattern}"
        compared += len(tags)
        accepted += matches
    assert wrong == {}
    assert untranslated == 10
    print(f"\n{len(found)} apps, {len(by_pattern)} patterns, {compared} tags, {accepted} accepted")


# --- Patterns nobody wrote ----------------------------------------------------------------------

ATOMS = [
    *("a", "v", "1", "-", "_", "x", "Z", " ", ",", "/", ":", "&&", "~", "--", "]", "}", "Ä", "é"),
    *(r"\.", r"\_", r"\-", r"\/", r"\]", r"\[", r"\{", r"\^", r"\$", r"\&", r"\~", r"\ ", r"\é"),
    *(r"\d", r"\D", r"\w", r"\W", r"\s", r"\S", r"\t", r"\b", r"\B", r"\A", r"\Z", "^", "$", "."),
    *(r"\z", r"\G", r"\Q", r"\E", r"\C", r"\pL", r"\x61", r"\u0061", r"\N", r"\R", r"\1", r"\07"),
    *("{x}", "{", "{,}", "{,3}", "{1,x}", "{1", "{ 1}", "{1 }", "{-1}", "{1,2,3}", "{}", "{٣}"),
    *("(?i)", "(?s)", "(?x)", "(?#c)", "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", "(?P=n)", "*", "[]"),
]
CLASS_ATOMS = [
    *("a", "v", "1", "-", "^", "[", "&&", "&", "~~", "~", "||", "|", "--", "a-z", "0-9", "]", "Ä"),
    *(r"\]", r"\[", r"\-", r"\^", r"\d", r"\w", r"\W", r"\s", r"\.", r"\\", r"\b", r"\_", r"\t"),
    *("+--", "z-a", r"a-\d", r"\d-a", r"\--a", "[:alpha:]", "[:^alpha:]", "[.a.]", " ", "#", "$"),
    *("(", ")", "*", "{", "}", "é-ü", r"\Z", r"\A", r"\D", r"\S", "a-", "-a", "/", ",", r"\x61"),
]
QUANTIFIERS = [
    *("*", "+", "?", "*?", "+?", "??", "{2}", "{1,2}", "{,2}", "{1,}", "{,}", "{2}?", "{1,2}?"),
    *("{,2}?", "{0}", "{0,0}", "{2,1}", "{01}", "{x}", "**", "++", "*+", "?+", "{2}{2}", "{1}+"),
    *("{1001}", "{1 ,2}", "{1, 2}", "{,2}+", "{٣}", "?*", "+{2}", "{2}*"),
]


def a_class(random_: random.Random) -> str:
    inner = "".join(random_.choices(CLASS_ATOMS, k=random_.randint(1, 4)))
    return "[" + random_.choice(["", "", "^", "]", "^]", "-", "^-"]) + inner + "]"


def a_pattern(random_: random.Random, depth: int = 0) -> str:
    """A pattern, mostly one that Python takes."""
    out = []
    for _ in range(random_.randint(1, 4)):
        kind = random_.random()
        if kind < 0.3:
            atom = a_class(random_)
        elif kind < 0.5 and depth < 3:
            opening = random_.choice(["(", "(?:", "(?P<n>", "(?P<né>", "(", "(?P<_1>", "(?<n>"])
            atom = opening + a_pattern(random_, depth + 1) + ")"
        else:
            atom = random_.choice(ATOMS)
        if random_.random() < 0.3:
            atom += random_.choice(QUANTIFIERS)
        out.append(atom)
        if random_.random() < 0.15:
            out.append("|")
    prefix = random_.choice(["", "", "", "^", "(?i)", "(?i)^"]) if depth == 0 else ""
    return prefix + "".join(out)


def quoted(text: str) -> str:
    """A double-quoted scalar of YAML: JSON's strings are ones."""
    return json.dumps(text)


def translations(folder: Path, patterns: list[str]) -> dict[str, str]:
    """What the program makes of them; "" where it takes every tag instead."""
    (folder / "metadata").mkdir(parents=True)
    for number, pattern in enumerate(patterns):
        (folder / f"metadata/a.n{number}.yml").write_text(
            "RepoType: git\nRepo: https://git.example.org/a.git\n"
            f"UpdateCheckMode: {quoted(f'Tags {pattern}')}\n"
        )
    found = apps(CONFIG, folder)
    assert len(found) == len(patterns)
    out = {}
    for number, pattern in enumerate(patterns):
        app = found[f"a.n{number}"]
        assert app["UpdateCheckMode"] == f"Tags {pattern}"
        out[pattern] = app["poller"]["tags"]
    return out


def python_takes(pattern: str) -> bool:
    """Whether fdroidserver could use it at all."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError):
        return False
    return True


def random_tags(random_: random.Random, pattern: str) -> set[str]:
    """Short texts of the letters that patterns here are made of, and near their own text."""
    tags = {"".join(random_.choices(ALPHABET, k=random_.randint(1, 6))) for _ in range(25)}
    near = [tag for tag in samples(random_, pattern, 12) if len(tag) < 60]
    tags |= {*near, *(mutated(random_, tag, ALPHABET) for tag in near for _ in range(2))}
    return tags - {""}  # there is no such tag, and Python's `\\B` does not match in it


# `\d`, `\w`, `\s` and `\b` know more than ASCII in Python, and `$` a final line feed: git allows
# no line feed in a tag, and ASCII tags are compared here where such classes stand.
UNICODE = re.compile(r"\\[dDwWsSbB]|\(\?i\)|\[:")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_patterns_accept_the_same_tags(tmp_path: Path, seed: int) -> None:
    random_ = random.Random(seed)
    patterns = list(dict.fromkeys(a_pattern(random_) for _ in range(3000)))
    # A pattern's ends are no part of it: a mode is trimmed.
    patterns = [p for p in patterns if p == p.strip() and "\n" not in p]
    translated = translations(tmp_path, patterns)
    wrong = {}
    compared = accepted = taken = 0
    for pattern, re2_pattern in translated.items():
        if re2_pattern == "":
            continue
        taken += 1
        if not python_takes(pattern):
            wrong[pattern] = (re2_pattern, ["Python refuses it"])
            continue
        try:
            compiled(re2_pattern)
        except re2.error as e:
            wrong[pattern] = (re2_pattern, [f"RE2 refuses it: {e}"])
            continue
        tags = random_tags(random_, pattern)
        if UNICODE.search(pattern):
            tags = {tag for tag in tags if tag.isascii()}
        if odd := differences(pattern, re2_pattern, tags):
            wrong[pattern] = (re2_pattern, odd[:5])
        compared += len(tags)
        accepted += sum(re.match(pattern, tag) is not None for tag in tags)
    print(f"\n{len(patterns)} patterns, {taken} taken, {compared} tags, {accepted} accepted")
    assert wrong == {}
    # The test tests something: a good share is translated, and a good share of tags matches.
    assert taken > len(patterns) / 10
    assert accepted > compared / 20


def test_each_part_of_the_grammar_by_itself(tmp_path: Path) -> None:
    random_ = random.Random(0)
    patterns = [*ATOMS, *(f"a{q}" for q in QUANTIFIERS), *(f"[{c}]" for c in CLASS_ATOMS)]
    patterns += [f"[^{c}]" for c in CLASS_ATOMS] + [f"[a{c}b]" for c in CLASS_ATOMS]
    patterns += [f"[{a}{b}]" for a, b in itertools.product(CLASS_ATOMS, repeat=2)]
    patterns += [f"(a|{atom})1" for atom in ATOMS] + [f"v{atom}1" for atom in ATOMS]
    patterns = [p for p in dict.fromkeys(patterns) if p == p.strip()]
    wrong = {}
    for pattern, re2_pattern in translations(tmp_path, patterns).items():
        if re2_pattern == "":
            continue
        if not python_takes(pattern):
            wrong[pattern] = (re2_pattern, ["Python refuses it"])
            continue
        tags = random_tags(random_, pattern) | set(map(chr, range(32, 127)))
        tags |= {f"a{chr(c)}b" for c in range(32, 127)} | {"a" * n for n in range(1, 6)}
        if UNICODE.search(pattern):
            tags = {tag for tag in tags if tag.isascii()}
        if odd := differences(pattern, re2_pattern, tags):
            wrong[pattern] = (re2_pattern, odd[:5])
    assert wrong == {}
