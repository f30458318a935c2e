# SPDX-License-Identifier: MIT
"""JUnit, for CI systems: a suite for each environment, whose name begins the class names.

CI systems tell tests apart by class name and name, and drop most properties: so the columns of one run are tests of
their own, and what a person needs is in the text of the failure.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from datetime import datetime

from reports.merge import Report
from reports.stream import Outcome, Result

_ELEMENT = {
    Outcome.FAIL: "failure",
    Outcome.XPASS: "failure",
    Outcome.ERROR: "error",
    Outcome.NOTRUN: "error",
    Outcome.KNOWN: "skipped",
    Outcome.UNTESTED: "skipped",
    Outcome.NOT_CLAIMED: "skipped",
}
_NO_XML = re.compile("[\ufffe\uffff]")
"""What XML has no way to say, of that which a stream may have."""


def junit(report: Report) -> str:
    """The whole document."""
    root = ET.Element("testsuites", name="svm-cts")
    for name in report.environments:
        run = report.run_of[name]
        results = [result for result in report.results if result.env == name]
        suite = ET.SubElement(root, "testsuite", {"name": _text(name), **_counts(results)})
        if _is_time(run.start):
            suite.set("timestamp", run.start)
        properties = ET.SubElement(suite, "properties")
        for key, value in (
            *report.environments[name].fields.items(),
            *((f"suite.{key}", value) for key, value in run.suite.items()),
            ("seed", run.seed),
            ("command", run.command_line),
        ):
            ET.SubElement(properties, "property", name=_text(key), value=_text(value))
        for result in results:
            _case(suite, result)
    for key in ("tests", "failures", "errors", "skipped"):
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


def _case(suite: ET.Element, result: Result) -> None:
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
    if result.behaviours:
        properties = ET.SubElement(case, "properties")
        for identifier in result.behaviours:
            ET.SubElement(properties, "property", name="behaviour", value=_text(identifier))
    kind = _ELEMENT.get(result.outcome)
    if kind is None:
        return
    said = ET.SubElement(case, kind, type=result.outcome.value, message=_text(_message(result)))
    if kind != "skipped":
        said.text = _text(result.longrepr or result.line)
        ET.SubElement(case, "system-out").text = _text("\n\n".join(_details(result)))


def _message(result: Result) -> str:
    code = result.reason_code
    return result.line if not code or code in result.line else f"{code}: {result.line}"


def _details(result: Result) -> Iterable[str]:
    if result.behaviours:
        yield f"behaviours: {' '.join(result.behaviours)}"
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
