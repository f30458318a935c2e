# SPDX-License-Identifier: MIT
"""The page in a real browser: what a person does with it works, offline, with scripts and without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.commands import report as command
from tests.reports import golden_runs, streams
from tests.reports.browser import CHROMIUM, DRIVER, MISSING, Browser, browser
from tests.reports.conftest import called
from tests.reports.golden_runs import WAIVER
from tests.reports.test_page import HOSTILE

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING)
ESCAPE = "\ue00c"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two machines, a baseline, a history and a waiver; and a run in which every text is hostile."""
    folder = tmp_path_factory.mktemp("page")
    runs = {name: golden_runs.write(name, folder) for name in golden_runs.RUNS}
    (folder / "waivers.toml").write_text(WAIVER)
    older = runs["good"].read_text().replace("2026-11-21", "2026-11-19")
    (folder / "old.jsonl").write_text(older)
    bad = streams.result(HOSTILE, "FAIL", HOSTILE, message="<script>document.title = 'owned'</script>")
    hostile = streams.write(folder / "hostile.jsonl", streams.run(), bad, streams.end())
    arguments = [
        str(hostile),
        str(folder / "old.jsonl"),
        str(runs["failing"]),
        f"lab={runs['killed']}",
        "-o",
        str(folder / "out"),
    ]
    arguments += ["--baseline", str(runs["good"]), "--waivers", str(folder / "waivers.toml")]
    assert called(command.main, *arguments) == 2  # one of the runs was killed
    return folder / "out" / "index.html"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


def opened(window: Browser, page: Path, fragment: str = "") -> None:
    """Open the page afresh, and wait until its script is done."""
    window.open(Path("/dev/null"))
    window.open(page, fragment)
    window.wait_for("document.documentElement.classList.contains('ready')")


def visible(window: Browser, selector: str) -> int:
    """Number of elements of a kind that are visible."""
    return int(window.run(f"[...document.querySelectorAll('{selector}')].filter(e => e.offsetParent).length"))


def test_our_script_runs_and_no_other_and_nothing_is_loaded(window: Browser, page: Path) -> None:
    opened(window, page)
    assert window.complaints() == []
    assert window.sees("#filter")
    assert window.run("performance.getEntriesByType('resource').length") == 0
    assert window.run("[...document.scripts].map(e => e.type)") == ["text/plain", "text/plain", ""]
    assert window.run("document.images.length") == 0
    assert window.run("document.title").startswith("GPU SVM conformance")


def test_what_changed_comes_first(window: Browser, page: Path) -> None:
    window.open(page)
    assert window.run("document.querySelector('main > section').className") == "changes"
    assert "newly failing" in window.text(".changes").lower()


def test_the_filter_leaves_what_matches(window: Browser, page: Path) -> None:
    opened(window, page)
    window.type("#filter", "requires-fault-mode")
    assert visible(window, ".box tbody tr:not(.area)") == 1
    assert "1 of" in window.text("#shown")
    opened(window, page)
    window.click(".chip[value=XPASS]")
    assert window.run("document.getElementById('filter').value") == "is:xpass"
    assert window.run("document.querySelector('.chip[value=XPASS]').getAttribute('aria-pressed')") == "true"
    some = visible(window, ".box tbody tr:not(.area)")
    assert some == visible(window, ".box tbody tr:has(td.XPASS)") > 0
    window.click(".chip[value=ERROR]")
    assert window.run("location.hash") == "#?q=is:xpass,error"
    window.click(".chip[value=XPASS]")
    window.click(".chip[value=ERROR]")
    assert visible(window, ".box tbody tr:not(.area)") > some


def test_a_cell_opens_what_its_tests_said_and_escape_closes_it(window: Browser, page: Path) -> None:
    opened(window, page)
    window.type("#filter", "write-visible")
    window.click(".box td.KNOWN")
    panel = window.text("#panel")
    assert "fault.write-visible-to-cpu" in panel
    assert golden_runs.WRONG_DATA in panel
    assert "waived until 2027-01-31" in panel
    assert "pytest --platform bmg --seed 20831" in panel
    window.press(ESCAPE)
    assert visible(window, ".panel") == 0


def test_the_kernel_log_is_shown_as_it_is(window: Browser, page: Path) -> None:
    opened(window, page, "#fault.write-visible-to-cpu@mock/bmg")
    window.click("#panel .result details summary")
    window.wait_for(
        "document.querySelector('#panel pre').textContent.includes('xe: <script>alert(1)</script>')"
    )
    assert window.run("document.title").startswith("GPU SVM")


def test_the_trend_is_drawn(window: Browser, page: Path) -> None:
    opened(window, page, "#@mock/bmg")
    assert visible(window, ".trend") == 1
    assert window.run("document.querySelectorAll('.trend g').length") == 4
    assert "failed in each run: 0," in window.text("article.open .trend")


def test_the_past_of_a_test_is_shown(window: Browser, page: Path) -> None:
    opened(window, page, "#bind.cam.requires-fault-mode@mock/bmg")
    past = window.text("#panel .result")
    assert "2 runs, oldest first: ✓✗ failed 1 of 2, fails since failing (2026-11-21 05:40)" in past
    assert "newly failing, against the baseline" in past


def test_sources_lead_to_the_kernel_at_that_release(window: Browser, page: Path) -> None:
    opened(window, page, "#bind.cam.requires-fault-mode")
    links = window.run("[...document.querySelectorAll('#panel .source a')].map(e => e.href)")
    assert any(link.endswith("drivers/gpu/drm/xe/xe_vm.c?h=v7.3") for link in links)


@pytest.mark.parametrize("width", [500, 900, 1600])
def test_it_fits_any_window(window: Browser, page: Path, width: int) -> None:
    window.resize(width, 900)
    opened(window, page)
    assert window.run("document.documentElement.scrollWidth") <= window.run("innerWidth")


def test_it_can_be_printed(window: Browser, page: Path) -> None:
    opened(window, page)
    assert window.pdf().startswith(b"%PDF")
    printed = window.run("document.getElementById('printed').textContent")
    assert golden_runs.WRONG_DATA in printed or "expected EINVAL" in printed


def test_without_scripts_the_table_is_whole_and_cells_open(tmp_path: Path, page: Path) -> None:
    with browser(tmp_path / "profile", scripts=False) as window:
        window.open(page)
        assert not window.sees("#filter")
        assert "newly failing" in window.text(".changes").lower()
        assert "✗" in window.text(".box td.FAIL")
        window.click("#row-bind\\.cam\\.requires-fault-mode th a")
        panel = window.text("article:target")
        assert "CPU address mirror bind needs" in panel
        assert "expected EINVAL, the call returned 0" in panel
        window.open(page, "#@mock/bmg")
        assert "Capabilities" in window.text("article:target")
