# SPDX-License-Identifier: MIT
"""``svmcts spec``: the document has everything, its links lead somewhere, and --check finds what is dead."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.text import one_line
from reports.commands import spec as command
from reports.ledger import Ledger
from reports.marks import proofs
from reports.merge import merge
from reports.spec import check, tests
from reports.spec.document import MARKDOWN, ROOT, files
from reports.spec.tests import APART, DRAWN, OVERLAP
from reports.spec.text import html
from reports.stream import read
from reports.verdict import matrix
from tests.reports import golden_runs
from tests.reports.browser import CHROMIUM, DRIVER, MISSING, Browser, browser
from tests.reports.conftest import called
from tests.reports.test_page import Document

LEDGER = Ledger.load()
TESTS = tests.read()


@functools.cache
def made() -> dict[str, str]:
    return dict(files(LEDGER))


def article(page: str, identifier: str) -> str:
    """The part of a page about a behaviour, without white space that does not matter."""
    found = re.search(rf'<article id="{re.escape(identifier)}".*?</article>', page, re.DOTALL)
    assert found
    return one_line(found[0])


def dead_in(text: str) -> list[str]:
    return [str(dead) for dead in check.in_text(Path("docs/x.md"), text, ROOT, LEDGER, TESTS)]


def test_documents_of_the_repository_and_the_specification_lead_somewhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert called(command.main, "--check") == 0, capsys.readouterr().out
    assert "no dead links or names" in capsys.readouterr().out


def test_each_behaviour_is_in_its_area_and_in_the_markdown() -> None:
    for area in LEDGER.vocabulary.areas:
        document = Document(made()[f"{area}.html"].removeprefix("<!doctype html>"))
        said = [value for value in document.attributes("id") if value in LEDGER]
        assert said == [b.id for b in LEDGER.values() if b.area == area]
    assert re.findall(r"^### `(.*?)`", made()[MARKDOWN], re.MULTILINE) == list(LEDGER)


def test_entry_has_all_that_the_ledger_says() -> None:
    behaviour = LEDGER["bind.cam.requires-fault-mode"]
    text = article(made()["bind.html"], behaviour.id)
    for part in (behaviour.statement, *behaviour.sources, "since Linux 6.15", "seed 002 patch 06"):
        assert part in text
    assert "include/uapi/drm/xe_drm.h?h=v7.3#n1049" in text
    assert "seed-002" in text


def test_each_test_is_linked_by_file_and_line() -> None:
    node = "suites/gc/test_collection.py::test_vm_bind_right_after_munmap_finds_no_range"
    assert node in proofs()["gc.flush-on-bind"]
    test = TESTS[node]
    source = (ROOT / test.file).read_text().splitlines()
    assert source[test.line - 1].startswith("def test_vm_bind_right_after_munmap_finds_no_range(")
    assert f'href="source/{test.file}.html#L{test.line}"' in article(made()["gc.html"], "gc.flush-on-bind")
    shown = re.search(rf'<span id="L{test.line}">(.*?)</span>', made()[f"source/{test.file}.html"])
    assert shown
    assert shown[1] == source[test.line - 1]


def test_behaviour_without_a_test_says_why() -> None:
    untested = next(b for b in LEDGER.values() if b.id not in proofs() and b.kind == "must")
    reason = one_line(LEDGER.why_untested(untested.id) or "")[:40]
    assert reason.replace("'", "&#39;") in article(made()[f"{untested.area}.html"], untested.id)


def test_known_finding_is_named_with_its_kernels() -> None:
    text = article(made()["bind.html"], "bind.cam.flags-only-inside")
    anchor = "a-readonly-mirror-makes-its-neighbours-read-only"
    assert f'findings.html#{anchor}">A READONLY mirror makes its neighbours read-only</a> (Linux 7.0' in text
    assert f'id="{anchor}"' in made()["findings.html"]


def test_marks_are_said_of_what_they_are_about(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites/test_x.py").write_text(
        "@only_if_exercised\n@acts('overlap')\n@known(F, first='6.18', last='7.0', signature='x')\n"
        "def test_a():\n    '''Promise.\n\n    More.\n    '''\n    with driver_only('a.b'):\n        pass\n"
        "\nF = 'Heading'\n\ndef test_b(): pass\n"
    )
    found = tests.read(tmp_path / "suites")
    test = found["suites/test_x.py::test_a"]
    assert (test.line, test.promise, test.known) == (4, "Promise.", (("Heading", "6.18 to 7.0"),))
    assert test.marks("a.b") == [APART, DRAWN, OVERLAP]
    assert test.marks("a.c") == [DRAWN, OVERLAP]
    assert found["suites/test_x.py::test_b"].marks("a.b") == []


def test_results_are_shown_where_there_are_some(tmp_path: Path) -> None:
    run = read(golden_runs.write("failing", tmp_path))
    page = dict(files(LEDGER, matrix(merge([run]), LEDGER)))["bind.html"]
    assert "✗ fail</span> mock/lnl" in article(page, "bind.cam.requires-fault-mode")
    assert "results" not in article(made()["bind.html"], "bind.cam.requires-fault-mode")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[x](../README.md)", ""),
        ("[x](../READNE.md)", "docs/x.md:1: links to ../READNE.md, which does not exist"),
        ("[x](reports.md#exit-statuses)", ""),
        (
            "\n[x](reports.md#exit-status)",
            "docs/x.md:2: links to #exit-status, which reports.md does not have",
        ),
        ("[x](https://example.org/none)", ""),
        ("`gc.async` `gc.fl*` `xe_vm.c` `mock/bmg`", ""),
        ("`gc.asinc`", "docs/x.md:1: `gc.asinc` is not in behaviours/"),
        ("`gc.flash-*`", "docs/x.md:1: `gc.flash-*` is not in behaviours/"),
        ("`docs/mock.md` `findings/` `include/uapi/drm/xe_drm.h` `reports/out/index.html`", ""),
        ("`docs/mok.md`", "docs/x.md:1: `docs/mok.md` does not exist"),
        ("    suites/gc/test_collection.py::test_vm_bind_right_after_munmap_*", ""),
        ("```\n`docs/mok.md`\n```", ""),
        (
            "```\npytest suites/gc/test_collection.py::test_nothing\n```",
            "docs/x.md:2: names suites/gc/test_collection.py::test_nothing, which is not a test",
        ),
        (
            "`suites/gc/test_collection.py::\n  test_nothing`",
            "docs/x.md:1: `suites/gc/test_collection.py` has no test test_nothing",
        ),
    ],
)
def test_what_is_dead_in_a_document_is_found(text: str, says: str) -> None:
    assert dead_in(text) == ([says] if says else [])


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        (
            "gc.html",
            'id="gc.async"',
            'id="gc.x"',
            "index.html: links to gc.html#gc.async, which does not exist",
        ),
        ("gc.html", 'id="gc.on-fault"', 'id="gc.async"', "gc.html: has the anchor #gc.async more than once"),
        (
            MARKDOWN,
            "(#area-gc)",
            "(#area-g)",
            f"{MARKDOWN}: links to {MARKDOWN}#area-g, which does not exist",
        ),
        (
            "index.html",
            'href="gc.html"',
            'href="gb.html"',
            "index.html: links to gb.html, which does not exist",
        ),
        (MARKDOWN, '<a id="gc.async">', "", "specification: gc.async has not one anchor in the pages"),
    ],
)
def test_what_is_dead_in_the_specification_is_found(file: str, old: str, new: str, says: str) -> None:
    assert old in made()[file]
    broken = made() | {file: made()[file].replace(old, new)}
    assert any(str(dead).startswith(says) for dead in check.in_specification(broken, LEDGER))


def test_something_dead_is_a_no(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(check, "in_documents", lambda *_: iter([check.Dead("README.md:1", "is dead")]))
    assert called(command.main, "--check") == 1
    assert capsys.readouterr().out == "README.md:1: is dead\n"


def test_no_output_and_no_checkout_are_no_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert called(command.main) == 2
    assert called(command.main, "--check", "--results", tmp_path) == 2
    with pytest.raises(check.NoAnswerError, match=r"no README\.md"):
        check.documents(tmp_path)
    assert "no such file" in capsys.readouterr().err


def test_documents_of_hidden_folders_are_not_ours(tmp_path: Path) -> None:
    for name in (
        "README.md",
        "mock/README.md",
        "docs/mock.md",
        ".pytest_cache/README.md",
        "docs/.cache/a.md",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [str(path.relative_to(tmp_path)) for path in check.documents(tmp_path)]
    assert found == ["README.md", "docs/mock.md", "mock/README.md"]


def test_text_of_findings_is_escaped_and_nests() -> None:
    text = html(
        "# A <b>\n\nx `a <\nb` **s** *e*\n\n- one\n  more\n- `gc.async`\n", {"gc.async": "gc.html"}.get
    )
    assert text == (
        '<h1 id="a-b">A &lt;b&gt;</h1>\n<p>x <code>a &lt; b</code> <strong>s</strong> <em>e</em></p>\n'
        '<ul><li>one more </li><li><a href="gc.html"><code>gc.async</code></a></li></ul>'
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spec")
    assert called(command.main, "-o", folder) == 0
    return folder


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING)
def test_search_leads_to_a_behaviour(window: Browser, written: Path) -> None:
    window.open(written / "source/suites/gc/test_collection.py.html")
    window.press("/")
    window.type("#search", "munmap flush\n")
    window.wait_for("location.hash == '#gc.flush-on-bind' && document.readyState == 'complete'")
    assert window.text("article:target h2").startswith("VM_BIND flushes collection")
    window.type("#search", "xyzzy")
    assert window.text("#found") == "nothing has all of these words"
    assert not window.complaints()


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING)
@pytest.mark.parametrize("width", [500, 800, 1280])
def test_no_page_is_wider_than_the_window(window: Browser, written: Path, width: int) -> None:
    window.resize(width, 900)
    for page in ("index.html", "bind.html", "findings.html", "source/suites/bind/test_mirror.py.html"):
        window.open(written / page)
        assert window.run("document.documentElement.scrollWidth <= innerWidth"), page


def test_results_are_scored_by_who_promises(tmp_path: Path) -> None:
    verdicts = matrix(merge([read(golden_runs.write("failing", tmp_path))]), LEDGER)
    written = dict(files(LEDGER, verdicts))
    for name, standing in verdicts.standings.items():
        assert 0 < standing.driver.total != standing.conformance.total
        assert f"| {name} | {standing.conformance} | {standing.driver} |" in written[MARKDOWN]
        told = re.sub(r"<[^>]+>", " ", one_line(written["index.html"]))
        assert re.search(rf"{name} +\S+ +{standing.conformance} +{standing.driver} ", told)
    assert "passed / claimed / all" not in made()[MARKDOWN]
