# SPDX-License-Identifier: MIT
"""JUnit, for CI systems: a suite for each environment, whose name prefixes the class names.

CI systems identify tests by class name and name, and drop most properties: so each column of a run has its own tests,
and the text of the failure has everything that a person needs.

They agree on few elements, and refuse a file that has others (Jenkins' xUnit plugin: a property of a test, ``skipped``
of the root) or is too large (GitLab: 30 MB). So texts are cut when there are many failures; the stream has them whole.
"""

from __future__ import annotations

import bisect
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path

from reports.event import Outcome, Result
from reports.ledger import Ledger
from reports.merge import Report
from reports.verdict import DRIVER, is_regression, matrix

_ELEMENT = {
    Outcome.FAIL: "failure",
    Outcome.XPASS: "failure",
    Outcome.ERROR: "error",
    Outcome.NOTRUN: "error",
    Outcome.KNOWN: "skipped",
    Outcome.UNTESTED: "skipped",
    Outcome.NOT_CLAIMED: "skipped",
}
TEXTS = 20_000_000
"""Bytes of the document for what results say, shared evenly between those that say something."""
LONGEST = 128_000
"""Bytes for the text of one result, if there are few."""
_ESCAPED = re.compile(r"[&<>\"\r\n\t]")
_NO_XML = re.compile("[\ufffe\uffff]")
"""Characters that a stream may contain and XML cannot."""


def junit(report: Report, ledger: Ledger) -> str:
    """The whole document; the type of a failure of driver behaviour begins with ``driver``.

    The properties ``conformance`` and ``driver`` of a suite are behaviours passed / claimed / all.
    """
    root = ET.Element("testsuites", name="svm-cts")
    saying = sum(result.outcome in _ELEMENT for result in report.listed)
    share = min(LONGEST, TEXTS // max(saying, 1))
    standings = matrix(report, ledger).standings
    for name in report.environments:
        run = report.run_of[name]
        results = [result for result in report.listed if result.env == name]
        suite = ET.SubElement(root, "testsuite", {"name": _text(name), **_counts(results)})
        if _is_time(run.start):
            suite.set("timestamp", run.start)
        properties = ET.SubElement(suite, "properties")
        for key, value in (
            *report.environments[name].fields.items(),
            *((f"suite.{key}", value) for key, value in run.suite.items()),
            ("seed", run.seed),
            ("command", run.command_line),
            ("conformance", str(standings[name].conformance)),
            (DRIVER, str(standings[name].driver)),
        ):
            ET.SubElement(properties, "property", name=_text(key), value=_text(value))
        for result in results:
            _case(suite, result, run.path, share, is_regression(result, ledger))
    for key in ("tests", "failures", "errors"):
        root.set(key, str(sum(int(suite.get(key, 0)) for suite in root)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _counts(results: list[Result]) -> dict[str, str]:
    kinds = [_ELEMENT.get(result.outcome) for result in results]
    return {
        "tests": str(len(results)),
        "failures": str(kinds.count("failure")),
        "errors": str(kinds.count("error")),
        "skipped": str(kinds.count("skipped")),
        "time": f"{sum(result.duration for result in results):.3f}",
    }


def _case(suite: ET.Element, result: Result, stream: Path, share: int, driver: bool) -> None:
    """A test; what it says takes about ``share`` bytes at most."""
    path, _, name = result.test.partition("::")
    function, bracket, parameters = name.partition("[")
    *classes, function = function.split("::")
    module = path.removesuffix(".py").replace("/", ".")
    case = ET.SubElement(
        suite,
        "testcase",
        classname=_text(".".join([result.env, module, *classes])),
        name=_text(function + bracket + parameters or path),
        time=f"{result.duration:.6f}",
    )
    kind = _ELEMENT.get(result.outcome)
    if kind is None:
        return
    message = _cut(_text(_message(result)), share // 4, " ... ")
    what = f"{DRIVER} {result.outcome.value}" if driver else result.outcome.value
    said = ET.SubElement(case, kind, type=what, message=message)
    if kind != "skipped":
        gap = f"\n... cut here: all of it is in line {result.at} of {_text(str(stream))} ...\n"
        said.text = _cut(_text(result.longrepr or result.line), share * 3 // 8, gap)
        details = _cut(_text("\n\n".join(_details(result))), share * 3 // 8, gap)
        ET.SubElement(case, "system-out").text = details


def _cut(text: str, size: int, gap: str) -> str:
    """The text, or its beginning and end with ``gap`` between them if it would take more than ``size`` bytes."""
    if _weight(text) <= size:
        return text
    # Nothing takes less than a byte a character, and the end says more than the beginning does.
    first, last = text[:size], text[-size:]
    begin = _largest(size // 3, lambda count: first[:count], len(first))
    end = _largest(size * 2 // 3, lambda count: last[len(last) - count :], len(last))
    return begin + gap + end


def _largest(size: int, part: Callable[[int], str], length: int) -> str:
    """The longest part that takes no more than ``size`` bytes; a part of 0 is empty."""
    return part(bisect.bisect_right(range(1, length + 1), size, key=lambda count: _weight(part(count))))


def _weight(text: str) -> int:
    """Bytes that a text takes in the document, at most."""
    return len(text.encode(errors="replace")) + 5 * len(_ESCAPED.findall(text))


def _message(result: Result) -> str:
    code = result.reason_code
    return result.line if not code or code in result.line else f"{code}: {result.line}"


def _details(result: Result) -> Iterable[str]:
    if result.about:
        yield f"behaviours: {' '.join(result.about)}"
    for title, text in (
        ("ioctls", result.transcript),
        ("kernel log", result.kernel_log),
        ("again", result.replay),
    ):
        if text:
            yield f"{title}:\n{text}"


def _text(text: str) -> str:
    return _NO_XML.sub("\ufffd", text)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
