# SPDX-License-Identifier: MIT
"""The page in a real browser with 1 to 40 columns: it fits, it filters, columns can be chosen, and cells have names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.ledger import Ledger
from reports.merge import merge
from reports.page import page
from reports.stream import read
from reports.verdict import matrix
from tests.reports import many
from tests.reports.browser import CHROMIUM, DRIVER, MISSING, Browser, browser

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING)
NUMBERS = (1, 3, 12, 20, 40)
ESCAPE, ENTER, RIGHT, DOWN = "\ue00c", "\ue007", "\ue014", "\ue015"
CELL = "bind.cam.map-only@mock/lnl"
SEEN = "e => e.checkVisibility()"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """A page for each number of columns: each behaviour has a test, and some fail."""
    folder, ledger = tmp_path_factory.mktemp("pages"), Ledger.load()
    made = {}
    for number in NUMBERS:
        runs = [read(path) for path in many.write(folder / f"{number}", number, [many.made_up(720)])]
        report = merge(runs)
        made[number] = folder / f"{number}.html"
        made[number].write_text(page(report, matrix(report, ledger), ledger), encoding="utf-8")
    return made


def shown(window: Browser, path: Path, fragment: str = "", width: int = 1280) -> None:
    """Open a page, and wait until its script is done."""
    window.resize(width, 900)
    window.open(Path("/dev/null"))
    window.open(path, fragment)
    window.wait_for("document.documentElement.classList.contains('ready')")


def rows(window: Browser) -> list[str]:
    """Ids of the behaviours that are shown."""
    found: list[str] = window.run(
        f"[...document.querySelectorAll('.box tbody tr:not(.area)')].filter({SEEN}).map(e => e.id.slice(4))"
    )
    return found


def heads(window: Browser) -> list[str]:
    """The columns that are shown, in order."""
    found: list[str] = window.run("[...document.querySelectorAll('.box thead th a')].map(e => e.title)")
    return found


def outcomes(window: Browser, row: str) -> list[str]:
    """The cells of a row, as they are shown."""
    path = json.dumps(f"row-{row}")
    found: list[str] = window.run(
        f"[...document.getElementById({path}).querySelectorAll('td')].map(e => e.classList[0])"
    )
    return found


def ask(window: Browser, query: str) -> str:
    """Type a query in place of another; what is said about it."""
    window.run(
        "(() => { const f = document.getElementById('filter'); "
        f"f.value = {json.dumps(query)}; f.dispatchEvent(new Event('input')); }})()"
    )
    return window.text("#shown")


@pytest.mark.parametrize("width", [500, 1280])
@pytest.mark.parametrize("number", NUMBERS)
def test_it_fits_and_heads_stay_in_place(
    window: Browser, pages: dict[int, Path], number: int, width: int
) -> None:
    shown(window, pages[number], width=width)
    assert window.complaints() == []
    assert window.run("document.documentElement.scrollWidth") <= window.run("innerWidth")
    assert len(heads(window)) == number
    first = window.run("document.querySelector('.box tbody th').getBoundingClientRect().width")
    cell = window.run("document.querySelector('.box tbody tr:not(.area) td').getBoundingClientRect().width")
    assert first >= 120
    assert cell >= 24
    words = window.run("document.querySelector('.box').classList.contains('signs')") is False
    assert words == (number <= (1 if width == 500 else 9))
    wide = window.run("document.querySelector('.box').classList.contains('wide')")
    assert wide == (number >= (12 if width == 500 else 40))
    window.run(
        "(document.querySelector('.box').scrollTo(300, 3000), scrollTo(0, wide ? 0 : 3000))".replace(
            "wide", str(wide).lower()
        )
    )
    window.run("document.querySelector('.box').scrollIntoView()" if wide else "scrollBy(0, 1500)")
    place = window.run(
        "(() => { const at = (s) => document.querySelector(s).getBoundingClientRect(); const b = at('.box');"
        "const row = [...document.querySelectorAll('.box tbody tr:not(.area)')]"
        ".find((e) => e.getBoundingClientRect().top > at('.box thead').bottom).querySelector('th');"
        "return [at('.box thead').top - Math.max(b.top, 0), at('.box thead th').left - b.left,"
        "row.getBoundingClientRect().left - b.left] })()"
    )
    assert max(map(abs, place)) < 2


@pytest.mark.parametrize("number", NUMBERS)
def test_a_cell_has_a_name_that_opens_it(window: Browser, pages: dict[int, Path], number: int) -> None:
    name = CELL if number > 1 else CELL.replace("lnl", "bmg")
    shown(window, pages[number], f"#{name}")
    assert window.sees("#panel")
    text = window.text("#panel")
    assert "bind.cam.map-only" in text
    assert Ledger.load()["bind.cam.map-only"].statement.split()[0] in text
    assert name.partition("@")[2] in text
    assert window.run("document.activeElement.id") == "panel"
    assert window.run(f"document.getElementById({json.dumps(name)}).open")
    window.press(ESCAPE)
    assert not window.sees("#panel")


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("area:gc", lambda row, cells: row.startswith("gc.")),
        (
            "area:gc,evict is:pass",
            lambda row, cells: row.split(".")[0] in ("gc", "evict") and "PASS" in cells,
        ),
        ("is:fail", lambda row, cells: "FAIL" in cells),
        ("-is:fail", lambda row, cells: "FAIL" not in cells),
        ("is:different", lambda row, cells: len(set(cells)) > 1),
        ("not (is:pass or is:no-claim)", lambda row, cells: not {"PASS", "NOT-CLAIMED"} & set(cells)),
        ("is:fail@mock/lnl", lambda row, cells: cells[1] == "FAIL"),
        ('id:gc.flush-* "before it checks ranges"', lambda row, cells: row == "gc.flush-on-bind"),
    ],
)
def test_a_query_leaves_the_rows_that_it_says(
    window: Browser, pages: dict[int, Path], query: str, wanted: Any
) -> None:
    shown(window, pages[12])
    cells = window.run(
        "[...document.querySelectorAll('.box tbody tr:not(.area)')]"
        ".map(e => [e.id.slice(4), [...e.querySelectorAll('td')].map(c => c.className)])"
    )
    expected = [row for row, classes in cells if wanted(row, classes)]
    said = ask(window, query)
    assert rows(window) == expected
    assert 0 < len(expected) < len(cells)
    assert f"{len(expected)} of {len(cells)} behaviours" in said


def test_rows_out_of_sight_are_not_laid_out(window: Browser, pages: dict[int, Path]) -> None:
    """Fifteen thousand cells would take longer than a key stroke."""
    shown(window, pages[20])
    ask(window, "-is:notrun")  # which none is
    assert len(rows(window)) > 700
    window.run("document.getElementById('row-madvise.pat.bounds').scrollIntoView()")
    window.wait_for("document.getElementById('row-madvise.pat.bounds').getBoundingClientRect().top < 300")
    laid_out = window.run(
        "[...document.querySelectorAll('.box tbody th a')]"
        ".filter(e => e.checkVisibility({contentVisibilityAuto: true})).length"
    )
    assert 0 < laid_out < 100


def test_columns_of_a_query_are_shown_and_judged(window: Browser, pages: dict[int, Path]) -> None:
    shown(window, pages[20])
    said = ask(window, "is:fail col:7.3 -col:lab")
    assert heads(window) == ["guest/7.3.4"]
    assert "1 of 20 columns" in said
    assert rows(window)
    assert all(outcomes(window, row) == ["FAIL"] for row in rows(window))
    ask(window, "kernel:6.18,6.17")
    assert heads(window) == ["guest/6.18.15", "guest/6.17.13"]
    ask(window, "")
    assert len(heads(window)) == 20


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("is:pas", "did you mean pass?"),
        ("arae:gc", "did you mean area?"),
        ("area:evct", "did you mean evict?"),
        ("col:9.9", "no column has col 9.9"),
        ("(gc", ") is missing"),
    ],
)
def test_a_query_with_a_slip_says_what_was_meant(
    window: Browser, pages: dict[int, Path], query: str, answer: str
) -> None:
    shown(window, pages[3])
    before = rows(window)
    assert answer in ask(window, query)
    assert rows(window) == before


def test_what_is_shown_is_in_the_address(window: Browser, pages: dict[int, Path]) -> None:
    shown(window, pages[12])
    ask(window, "area:gc is:pass col:7,mock")
    address = window.run("location.hash")
    assert address == "#?q=area:gc+is:pass+col:7,mock"
    before = (rows(window), heads(window))
    shown(window, pages[12], address)
    assert (rows(window), heads(window)) == before
    assert window.run("document.getElementById('filter').value") == "area:gc is:pass col:7,mock"


def test_columns_are_grouped_sorted_and_hidden(window: Browser, pages: dict[int, Path]) -> None:
    shown(window, pages[20], "#?group=kernel&hide=mock/lnl")
    names = heads(window)
    assert len(names) == 19
    assert "mock/lnl" not in names
    groups = window.run(
        "[...document.querySelectorAll('.groups th[colspan]')].map(e => [e.title, e.colSpan])"
    )
    assert [group for group, _ in groups] == ["7.3", "7.2", "7.1", "7.0", "6.19", "6.18", "6.17"]
    assert sum(span for _, span in groups) == 19
    shown(window, pages[20], "#?sort=bad")
    bad = window.run(
        "[...document.querySelectorAll('.box thead th small')].map(e => Number(e.textContent.slice(2)))"
    )
    assert bad == sorted(bad, reverse=True)
    window.click("#choose summary")
    window.click("#choose .list label:first-child input")
    assert "mock/bmg" not in heads(window)
    assert "hide=mock/bmg" in window.run("location.hash")


def test_two_columns_are_compared(window: Browser, pages: dict[int, Path]) -> None:
    shown(window, pages[20], "#?pair=mock/bmg&pair=guest/7.2.9&diff=1")
    assert heads(window) == ["mock/bmg", "guest/7.2.9"]
    different = rows(window)
    assert different
    assert all(len(set(outcomes(window, row))) == 2 for row in different)
    window.click("#compare summary")
    window.click("#diff")
    assert len(rows(window)) > len(different)


def test_arrow_keys_lead_from_cell_to_cell(window: Browser, pages: dict[int, Path]) -> None:
    shown(window, pages[3])
    window.run("document.querySelector('#row-gc\\\\.async th a').focus()")
    window.press(RIGHT)
    window.press(DOWN)
    label = window.run("document.activeElement.getAttribute('aria-label')")
    assert label.startswith("gc.flush-on-bind, mock/bmg: ")
    window.press(ENTER)
    assert window.run("location.hash") == "#gc.flush-on-bind@mock/bmg"
    window.press(ESCAPE)
    assert window.run("document.activeElement.getAttribute('aria-label')") == label


def test_a_browser_without_decompression_unpacks_by_itself(window: Browser, pages: dict[int, Path]) -> None:
    shown(window, pages[12], f"#{CELL}")
    with_it = window.text("#panel")
    with window.before_any_script("delete globalThis.DecompressionStream"):
        shown(window, pages[12], f"#{CELL}")
        assert window.run("typeof DecompressionStream") == "undefined"
        assert window.text("#panel") == with_it
        assert window.complaints() == []


def test_long_texts_come_when_they_are_opened(window: Browser, pages: dict[int, Path]) -> None:
    shown(window, pages[12])
    ask(window, "is:fail")
    window.click(f"#row-{rows(window)[0].replace('.', chr(92) + '.')} td.FAIL")
    window.click("#panel .result details:nth-of-type(2) summary")
    window.wait_for(
        "document.querySelector('#panel .result details[open] pre').textContent.includes('ioctl(5, ')"
    )
