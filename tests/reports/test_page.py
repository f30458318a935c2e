# SPDX-License-Identifier: MIT
"""index.html: whole, self-contained, escaped, and not too large to open."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
import shlex
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from common.place import ROOT
from reports.event import Outcome
from reports.ledger import Ledger, Place
from reports.looks import LOOKS
from reports.merge import merge
from reports.page import MAX_TEXTS, page
from reports.stream import read
from reports.verdict import matrix
from reports.write import write_all
from tests.reports import many, streams
from tests.reports.conftest import entry
from tests.reports.pictures import PICTURES
from tests.reports.test_summary import mixed

VOID = {"meta", "input", "wbr", "br", "link"}


class Document(HTMLParser):
    """Elements of the page; complains if they do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def attributes(self, name: str) -> list[str]:
        return [value for _, attributes in self.tags if (value := attributes.get(name)) is not None]

    def count(self, tag: str) -> int:
        return sum(1 for name, _ in self.tags if name == tag)


def data_of(text: str, name: str = "core") -> Any:
    """Data of the script: core, or the long texts."""
    found = re.search(rf'<script type="text/plain" id="{name}">([^<]*)</script>', text)
    assert found
    return json.loads(zlib.decompress(base64.b64decode(found[1]), -15))


def render(tmp_path: Path, ledger: Ledger, *events: dict[str, Any] | str) -> str:
    run = read(streams.write(tmp_path / "r.jsonl", *events))
    report = merge([run])
    return page(report, matrix(report, ledger), ledger)


def test_the_page_nests_and_every_link_has_its_target_in_it(tmp_path: Path, ledger: Ledger) -> None:
    document = Document(render(tmp_path, ledger, *mixed()))
    targets = document.attributes("id")
    assert len(targets) == len(set(targets))
    links = document.attributes("href")
    assert links
    assert {link for link in links if link != "#_"} <= {f"#{target}" for target in targets}


def test_nothing_is_loaded_from_anywhere(tmp_path: Path, ledger: Ledger) -> None:
    text = render(tmp_path, ledger, *mixed())
    document = Document(text)
    assert not document.attributes("src")
    assert document.count("link") == 0
    assert "url(" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_each_outcome_has_a_sign_of_its_own(tmp_path: Path, ledger: Ledger) -> None:
    assert LOOKS.keys() == {outcome.value for outcome in Outcome}
    assert len({look.sign for look in LOOKS.values()}) == len(LOOKS)
    text = render(tmp_path, ledger, *mixed())
    for name in ("FAIL", "UNTESTED", "NOTRUN", "PASS", "NOT-CLAIMED"):
        assert f'<td class="{name}">' in text
        assert LOOKS[name].sign in text


def test_a_failing_cell_leads_to_test_message_statement_transcript_and_replay(
    tmp_path: Path, ledger: Ledger
) -> None:
    document = Document(
        render(
            tmp_path,
            ledger,
            streams.run(),
            streams.environment(),
            streams.result(
                "suites/bind/test_b.py::test_two",
                "FAIL",
                behaviours=["bind.two"],
                message="expected EINVAL",
                longrepr="E   assert",
                transcript="ioctl(5, VM_BIND)",
            ),
            streams.end(),
        )
    )
    text = "".join(document.texts)
    for part in (
        "suites/bind/test_b.py::test_two",
        "expected EINVAL",
        "Statement of bind.two, quoted.",
        "E   assert",
        "ioctl(5, VM_BIND)",
        "pytest --platform bmg --seed 20831 'suites/bind/test_b.py::test_two'",
    ):
        assert part in text


def test_a_behaviour_without_a_test_is_shown_with_its_reason(tmp_path: Path, ledger: Ledger) -> None:
    text = render(tmp_path, ledger, *mixed())
    assert "needs swap (planned: the swap suite)" in text
    assert "no program can see it: it is inside" in text


HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}{% raw %}</pre></style>"
    "\x1b]0;x\x07\u202e日本\0"
)


def test_hostile_strings_stay_text_wherever_they_come_from(tmp_path: Path, ledger: Ledger) -> None:
    text = render(
        tmp_path,
        ledger,
        streams.run(command=["pytest", HOSTILE], seed=HOSTILE, suite={HOSTILE: HOSTILE}, start=HOSTILE),
        streams.environment(
            HOSTILE,
            platform=HOSTILE,
            kernel=HOSTILE,
            capabilities={HOSTILE: HOSTILE, "vram": False},
            reductions=[HOSTILE],
            devices=[{HOSTILE: HOSTILE, "path": HOSTILE}],
        ),
        streams.result(
            f"suites/x/{HOSTILE}",
            "FAIL",
            HOSTILE,
            behaviours=[HOSTILE, "bind.one"],
            area=HOSTILE,
            message=HOSTILE,
            longrepr=HOSTILE,
            transcript=HOSTILE,
            replay=HOSTILE,
            reason={"code": HOSTILE, "text": HOSTILE},
            acts={HOSTILE: 1},
        ),
        streams.result(f"suites/x/{HOSTILE}", "ERROR", HOSTILE, behaviours=[]),
        {"event": HOSTILE},
        streams.end(time=HOSTILE),
    )
    document = Document(text)
    scripts = [attributes.get("type") for tag, attributes in document.tags if tag == "script"]
    assert scripts == ["text/plain", "text/plain", None]
    assert document.count("img") == 0
    assert "49" not in text.split("<main>")[0].split("</style>")[1]
    assert not {character for character in text if ord(character) < 0x20} - {"\n", "\t"}
    assert "\u202e" not in text
    assert not [tag for tag, attributes in document.tags if any(name.startswith("on") for name in attributes)]


def test_long_texts_are_clipped_and_said_once(tmp_path: Path, ledger: Ledger) -> None:
    long = "beginning" + "x" * 100_000 + "ending"
    failing = streams.result(outcome="FAIL", behaviours=["bind.one", "bind.two"], transcript=long)
    text = render(tmp_path, ledger, streams.run(), failing, streams.end())
    packed = json.dumps(data_of(text, "long"))
    for place in (text, packed):
        assert place.count("beginningxxx") == place.count("xxxending") == 1
        assert "characters left out" in place
    assert len(text) < 110_000


def test_a_run_in_which_everything_fails_still_fits_a_browser(tmp_path: Path, ledger: Ledger) -> None:
    flood = [
        streams.result(
            f"suites/bind/test_b.py::test_{n}",
            "FAIL",
            behaviours=["bind.one"],
            transcript=f"{n}" + "y" * 20_000,
        )
        for n in range(600)
    ]
    text = render(tmp_path, ledger, streams.run(), *flood)
    assert len(text) < MAX_TEXTS + 2_000_000
    assert any("the page is full" in part for part in data_of(text, "long"))


def test_twenty_columns_of_three_thousand_tests_are_small(tmp_path: Path) -> None:
    runs = [read(path) for path in many.write(tmp_path, 20)]
    report = merge(runs)
    assert len(report.results) == 60_000
    real = Ledger.load()
    text = page(report, matrix(report, real), real)
    assert len(text.encode()) < 4_000_000
    core = data_of(text)
    assert [len(column["test"]) for column in core["columns"]] == [3000] * 20
    assert {column["name"] for column in core["columns"] if column["runs"] == 2} == {"mock/bmg", "mock/lnl"}


def test_cells_say_what_the_stream_says(tmp_path: Path, ledger: Ledger) -> None:
    events = [streams.run(), streams.environment(), streams.environment("mock/lnl")]
    events += [
        streams.result(
            f"suites/bind/test_b.py::test_{n}[{name}]",
            "FAIL" if n % 3 == 0 else "PASS",
            env,
            behaviours=["bind.one", "bind.two"][: 1 + n % 2],
            message=f"message {n % 3}" if n % 3 == 0 else None,
            transcript=f"transcript {n}" if n % 3 == 0 else None,
        )
        for n in range(9)
        for env in ("mock/bmg", "mock/lnl")
        for name in ("a b", "it's", "plain")
    ]
    core = data_of(text := render(tmp_path, ledger, *events, streams.end()))
    long = data_of(text, "long")
    seen = []
    for column in core["columns"]:
        for at, test in enumerate(column["test"]):
            name, rows = core["tests"][test]
            more = column["more"].get(str(at), [0] * 7)
            seen.append(
                (
                    column["name"],
                    name,
                    [core["rows"][row][1] for row in rows],
                    column["outcome"][at],
                    core["texts"][more[0]],
                    long[more[5]],
                    core["texts"][more[3]] or column["again"] + shlex.quote(name),
                )
            )
    wanted = [
        (
            e["env"],
            e["test"],
            e["behaviours"],
            e["outcome"][0],
            e["message"] or "",
            e["transcript"] or "",
            e["replay"],
        )
        for e in events
        if e["event"] == "result"
    ]
    assert sorted(seen) == sorted(wanted)


def test_what_environments_lack_is_said_once(tmp_path: Path, ledger: Ledger) -> None:
    lacks = ["no pinning: the mock does not know which pages are pinned"]
    names = ("mock/bmg", "mock/lnl", "mock/bmg2")
    environments = [streams.environment(name, reductions=lacks) for name in names]
    results = [streams.result(env=name, behaviours=["bind.one"]) for name in names]
    text = render(tmp_path, ledger, streams.run(), *environments, *results, streams.end())
    top = text.split("<main>")[0]
    assert top.count(lacks[0]) == 1
    assert "(all environments)" in top
    assert "problem" not in top.split("</style>")[1]


def test_a_test_that_fails_again_says_since_when(tmp_path: Path, ledger: Ledger) -> None:
    runs = []
    for day, outcome in enumerate(["PASS", "FAIL", "PASS", "FAIL", "FAIL"], 20):
        events = [
            streams.run(start=f"2026-11-{day}T05:40:00+00:00"),
            streams.environment(),
            streams.result(outcome=outcome, behaviours=["bind.one"]),
            streams.result("suites/bind/test_b.py::test_good", behaviours=["bind.one"]),
            streams.end(),
        ]
        (tmp_path / f"{day}").mkdir()
        runs.append(read(streams.write(tmp_path / f"{day}" / "results.jsonl", *events)))
    report = merge(runs)
    text = page(report, matrix(report, ledger), ledger)
    said = "failed 3 of 5, alternating, fails since 23 (2026-11-23 05:40)"
    assert said in text.split("<noscript>")[0]
    core = data_of(text)
    assert list(core["columns"][0]["past"].values()) == [["PFPFF", core["texts"].index(said), 1]]


def test_the_whole_ledger_over_six_environments_is_complete_and_small(tmp_path: Path) -> None:
    path = streams.write(tmp_path / "results.jsonl", *streams.whole_ledger(6))
    said = write_all(path, tmp_path)
    text = (tmp_path / "index.html").read_text(encoding="utf-8")
    document = Document(text)
    ledger = Ledger.load()
    rows = [attributes["id"] for tag, attributes in document.tags if tag == "tr" and "id" in attributes]
    assert len(rows) == len(ledger)
    cells = [tag for tag, attributes in document.tags if tag == "td" and attributes.get("class") in LOOKS]
    assert len(cells) + text.count('<td class="NOTHING">') == 6 * len(ledger)
    assert len(text) < 2_000_000
    assert f"{tmp_path / 'index.html'}" in said


def test_an_empty_run_makes_a_page(tmp_path: Path) -> None:
    said = write_all(streams.write(tmp_path / "results.jsonl"), tmp_path / "out")
    assert "no test ran" in said
    assert "No test ran." in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_a_link_to_a_behaviour_is_its_id(tmp_path: Path, ledger: Ledger) -> None:
    failing = streams.result(outcome="FAIL", behaviours=["bind.one"])
    document = Document(
        render(tmp_path, ledger, streams.run(), streams.environment(), failing, streams.end())
    )
    assert {"bind.one", "bind.one@mock/bmg", "row-bind.one", "@mock/bmg"} <= set(document.attributes("id"))


def test_headline_of_a_part_does_not_read_as_a_whole(tmp_path: Path, ledger: Ledger) -> None:
    part = (streams.run(), streams.environment(), streams.result(behaviours=["bind.one"]), streams.end())
    said = " ".join("".join(Document(render(tmp_path, ledger, *part)).texts).split())
    assert "A part of the suite: 3 of 5 behaviours did not run; of 1 results none is a failure." in said
    every = [
        streams.result(f"suites/bind/test_b.py::test_{number}", behaviours=[behaviour])
        for number, behaviour in enumerate(["bind.one", "bind.two", "bind.three", "fault.vram"])
    ]
    whole = (streams.run(), streams.environment(), *every, streams.end())
    said = " ".join("".join(Document(render(tmp_path, ledger, *whole)).texts).split())
    assert "4 results, none of them a failure." in said


def test_page_tells_driver_regressions_apart(tmp_path: Path, ledger: Ledger) -> None:
    place = Place("include/uapi/drm/xe_drm.h:1054", "This is & said")
    promised = dataclasses.replace(entry("bind.said"), promised_by=(place,))
    both = Ledger([*ledger.values(), promised, entry("bind.cut", promise="driver")], ledger.vocabulary, [])
    report = merge([read(streams.write(tmp_path / "r.jsonl", *mixed()))])
    texts = " ".join(" ".join(Document(page(report, matrix(report, both), both)).texts).split())
    assert texts.count("of driver behaviour") == 2
    assert texts.count("driver 0 / 1 / 1") == 2
    assert "0 / 1 / 1 of driver behaviour" in texts
    assert "include/uapi/drm/xe_drm.h:1054: “This is & said …”" in texts
    assert 'title="driver behaviour: ' not in page(report, matrix(report, ledger), ledger)


def test_each_picture_of_the_documents_can_be_taken_again() -> None:
    there = {path.stem for path in (ROOT / "docs" / "pictures").iterdir()}
    assert there == {picture.name for picture in PICTURES}
