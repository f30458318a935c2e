# SPDX-License-Identifier: MIT
"""Allure results, written from results by the process that was started, or from a stream later.

allure-pytest's own listener writes them where tests run, which does not work here: a test whose process dies leaves
nothing, a worker that replaces another empties the directory (--clean-alluredir), a guest's disk is not this machine's,
and an expected failure reads like a skip. So its listener is not registered; its options stay (--alluredir,
--clean-alluredir, and the selection by --allure-epics and similar options), and its model and its writer are used.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import uuid
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from allure_commons import logger
from allure_commons.model2 import Attachment, Label, Link, Parameter, Status, StatusDetails, TestResult
from allure_commons.types import AttachmentType, LinkType

from reports.event import Environment, Outcome, Result
from reports.formats import allurerc
from reports.ledger import Behaviour, Ledger
from reports.merge import Report
from reports.sources import AS_OF, url
from reports.verdict import DRIVER, is_regression

_STATUS = {
    Outcome.PASS: Status.PASSED,
    Outcome.FAIL: Status.FAILED,
    Outcome.ERROR: Status.BROKEN,
    Outcome.XPASS: Status.FAILED,
    Outcome.KNOWN: Status.SKIPPED,
    Outcome.NOT_CLAIMED: Status.SKIPPED,
    Outcome.UNTESTED: Status.SKIPPED,
    Outcome.NOTRUN: Status.BROKEN,
}


def clean(directory: Path) -> None:
    """Empty a directory of Allure results, before any worker starts; other files in it stay."""
    for pattern in (
        "*-result.json",
        "*-container.json",
        "*-attachment.*",
        "categories.json",
        "environment.properties",
        allurerc.NAME,
    ):
        for path in directory.glob(pattern):
            path.unlink()
    if directory.is_dir() and not any(directory.iterdir()):
        shutil.rmtree(directory)


class _Writer(logger.AllureFileLogger):
    """allure_commons' own, whose copies and ``json.dump`` to a file cost a millisecond for each result."""

    def _report_item(self, item: Any) -> None:
        path = self._report_dir / item.file_pattern.format(prefix=uuid.uuid4())
        text = json.dumps(item, ensure_ascii=False, separators=(",", ":"), default=_fields)
        path.write_text(text, encoding="utf-8")


def _fields(item: Any) -> dict[str, Any]:
    """An object of the model: what is set of it."""
    return {name: value for name, value in vars(item).items() if value or value is False}


class AllureResults:
    """Writes one Allure result for each result."""

    def __init__(self, directory: Path, ledger: Ledger) -> None:
        """``directory`` is made if it is not there."""
        self._directory = directory
        self._ledger = ledger
        self._writer = _Writer(directory)
        (directory / "categories.json").write_text(allurerc.categories(), encoding="utf-8")

    def environment(self, environments: Iterable[Environment]) -> None:
        """Describe the environments: for Allure 2 all of them together, for Allure 3 one by one."""
        described = list(environments)
        lines = [
            f"{environment.name.replace('/', '.').replace('@', '.')}.{what} = {text}"
            for environment in described
            for what, text in allurerc.facts(environment).items()
        ]
        text = "".join(" ".join(line.split()) + "\n" for line in lines)
        (self._directory / "environment.properties").write_text(text, encoding="utf-8")
        configuration = allurerc.configuration(described)
        (self._directory / allurerc.NAME).write_text(configuration, encoding="utf-8")

    def result(self, result: Result, fallback: str = "", link: str = "") -> None:
        """Write an Allure result; ``fallback`` is when it ended, if it does not say, ``link`` that of a waiver."""
        path, _, rest = result.test.partition("::")
        name, _, parameters = rest.partition("[")
        full_name = f"{path.removesuffix('.py').replace('/', '.')}#{name.replace('::', '.')}"
        stop = _milliseconds(result.time or fallback)
        behaviours = [self._ledger[i] for i in result.behaviours if i in self._ledger]
        written = TestResult(
            uuid=str(uuid.uuid4()),
            name=rest or path,
            fullName=full_name,
            testCaseId=_digest(full_name),
            # Two environments are two histories of one test case.
            historyId=_digest(full_name, parameters, result.env),
            description="\n\n".join(f"**{b.id}** (since {b.since}): {b.statement}" for b in behaviours),
            status=_STATUS[result.outcome],
            start=stop - int(result.duration * 1000),
            stop=stop,
            labels=[Label(name=name, value=value) for name, value in self._labels(result)],
            links=[*_links(behaviours), *([Link(LinkType.ISSUE, link, link)] if link else [])],
            # Allure 3 makes its own identity of test case and parameters, and knows environments besides.
            parameters=[Parameter(name="environment", value=repr(result.env), excluded=True)],
            titlePath=[*path.removeprefix("suites/").split("/"), *name.split("::")[:-1]],
        )
        if parameters:
            written.parameters.append(Parameter(name="parameters", value=repr(parameters.removesuffix("]"))))
        if result.outcome is not Outcome.PASS:
            written.statusDetails = StatusDetails(
                message=self._message(result), trace=result.longrepr, known=result.outcome is Outcome.KNOWN
            )
        if result.outcome.bad or result.outcome is Outcome.KNOWN:
            texts = (
                ("ioctls", result.transcript),
                ("kernel log", result.kernel_log),
                ("again", result.replay),
            )
            written.attachments += [self._attach(title, text) for title, text in texts if text]
        self._writer.report_result(written)

    def _message(self, result: Result) -> str:
        said = result.message or " ".join(filter(None, (result.reason_code, result.reason)))
        mark = f"{DRIVER} " if is_regression(result, self._ledger) else ""
        return "; ".join(filter(None, (f"{mark}{result.outcome.value}: {said}", result.known_as)))

    def _labels(self, result: Result) -> list[tuple[str, str]]:
        env = result.env
        backend, _, platform = env.partition("/")
        labels = [
            ("epic", result.area),
            ("platform", platform or env),
            ("backend", backend),
            ("outcome", result.outcome.value),
            ("parentSuite", env),
            ("suite", result.area),
            ("subSuite", result.test.partition("::")[0].rpartition("/")[2]),
            (allurerc.HOST, env),
        ]
        for identifier in result.behaviours:
            behaviour = self._ledger.get(identifier)
            story = f"{identifier}: {behaviour.title}" if behaviour else identifier
            labels += [("feature", identifier.rpartition(".")[0]), ("story", story), ("tag", identifier)]
        promises = [self._ledger[i].promise for i in result.about if i in self._ledger]
        labels += [("promise", promise) for promise in promises]
        if result.reason_code.startswith("NEEDS:"):
            labels.append(("cap", result.reason_code.removeprefix("NEEDS:")))
        labels += [("oracle", kind) for kind in result.acts]
        return list(dict.fromkeys(labels))

    def _attach(self, title: str, text: str) -> Attachment:
        source = f"{uuid.uuid4()!s}-attachment.txt"
        self._writer.report_attached_data(text, source)
        return Attachment(name=title, source=source, type=AttachmentType.TEXT.mime_type)


def write(report: Report, directory: Path, ledger: Ledger) -> None:
    """Write the results of a report, in place of others that are there; raises OSError."""
    clean(directory)
    results = AllureResults(directory, ledger)
    results.environment(report.environments.values())
    for result in report.listed:
        run = report.run_of[result.env]
        waiver = report.waived.by.get((result.env, result.test))
        results.result(result, run.end or run.start, waiver.link if waiver else "")


def _links(behaviours: Iterable[Behaviour]) -> list[Link]:
    """Sources of the behaviours in the kernel, at the newest release."""
    places = {url(source, AS_OF): source for behaviour in behaviours for source in behaviour.sources}
    return [Link(LinkType.LINK, address, source) for address, source in places.items() if address]


def _milliseconds(time: str) -> int:
    try:
        return int(datetime.fromisoformat(time).timestamp() * 1000)
    except ValueError:
        return 0


def _digest(*parts: str) -> str:
    """Identity of a test case or of its history: the same from run to run."""
    return hashlib.md5("\0".join(parts).encode(), usedforsecurity=False).hexdigest()
