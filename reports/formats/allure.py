# SPDX-License-Identifier: MIT
"""Allure results, written from results by the process that was started, or from a stream later.

allure-pytest's own listener writes them where tests run, and that does not do here: a test whose process
dies leaves nothing, a worker that replaces another empties the directory (--clean-alluredir), a guest's
disk is not this machine's, and an expected failure reads like a skip. So its listener is not registered;
its options stay (--alluredir, --clean-alluredir, and the selection by --allure-epics and the like), and
its model and its writer are used.
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

from common.kernels import Version
from reports.event import Environment, Outcome, Result
from reports.ledger import Behaviour, Ledger
from reports.merge import Report
from reports.verdict import DRIVER, is_regression

SOURCE = "https://git.kernel.org/pub/scm/linux/kernel/git/torvalds/linux.git/tree/{path}?h=v{version}"

_STATUS = {
    Outcome.PASS: Status.PASSED,
    Outcome.FAIL: Status.FAILED,
    Outcome.ERROR: Status.BROKEN,
    Outcome.XPASS: Status.FAILED,
    Outcome.KNOWN: Status.SKIPPED,
    Outcome.NOT_CLAIMED: Status.SKIPPED,
    Outcome.UNTESTED: Status.SKIPPED,
    Outcome.NOTRUN: Status.SKIPPED,
}

_CATEGORIES = {
    "only this driver's ways": f"{DRIVER} (FAIL|XPASS).*",
    "kernel complained": "(FAIL|ERROR): the kernel (complained|was tainted).*",
    "emulated GPU complained": "(FAIL|ERROR): .*the emulated GPU reports.*",
    "failed as known": "KNOWN.*",
    "not claimed by the device": "NOT-CLAIMED.*",
    "could not be exercised here": "UNTESTED.*",
    "never began": "NOTRUN.*",
    "vacuous": "ERROR: vacuous.*",
    "process died": "ERROR: (the process|began and has no result).*",
    "passed, though a failure was expected": "XPASS.*",
    "wrong errno": "FAIL: (expected E[A-Z]+|E[A-Z]+: ).*",
    "wrong data": "FAIL: the (CPU|GPU) sees.*",
    "deadline": "FAIL: (Timeout|the test did not end).*",
    "error of the suite": "ERROR.*",
}
"""Name of a category to what the message of a result is like; the first that fits is taken."""


def clean(directory: Path) -> None:
    """Empty a directory of Allure results, before any worker starts; other files in it stay."""
    for pattern in (
        "*-result.json",
        "*-container.json",
        "*-attachment.*",
        "categories.json",
        "environment.properties",
    ):
        for path in directory.glob(pattern):
            path.unlink()
    if directory.is_dir() and not any(directory.iterdir()):
        shutil.rmtree(directory)


class _Writer(logger.AllureFileLogger):
    """allure_commons' own, whose copies and ``json.dump`` to a file cost a millisecond for each result."""

    def _report_item(self, item: Any) -> None:
        path = self._report_dir / item.file_pattern.format(prefix=uuid.uuid4())
        path.write_text(json.dumps(item, ensure_ascii=False, default=_fields), encoding="utf-8")


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
        categories = [{"name": name, "messageRegex": f"(?s){regex}"} for name, regex in _CATEGORIES.items()]
        (directory / "categories.json").write_text(json.dumps(categories, indent=1) + "\n")

    def environment(self, environments: Iterable[Environment]) -> None:
        """Describe the environments."""
        lines = []
        for environment in environments:
            present = [name for name, there in environment.capabilities.items() if there]
            key = environment.name.replace("/", ".").replace("@", ".")
            for what in ("kernel", "header"):
                if value := environment.fields.get(what):
                    lines.append(f"{key}.{what} = {value}")
            for number, device in enumerate(environment.devices):
                lines.append(f"{key}.gpu{number} = {device.get('pci_id', 'unknown')}")
            lines.append(f"{key}.capabilities = {' '.join(present)}")
        text = "".join(" ".join(line.split()) + "\n" for line in lines)
        (self._directory / "environment.properties").write_text(text, encoding="utf-8")

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
            parameters=[Parameter(name="environment", value=repr(result.env))],
        )
        if parameters:
            written.parameters.append(Parameter(name="parameters", value=repr(parameters.removesuffix("]"))))
        if result.outcome is not Outcome.PASS:
            written.statusDetails = StatusDetails(message=self._message(result), trace=result.longrepr)
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
            ("framework", "pytest"),
            ("language", "python"),
            ("host", env),
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
    for result in report.results:
        run = report.run_of[result.env]
        waiver = report.waived.by.get((result.env, result.test))
        results.result(result, run.end or run.start, waiver.link if waiver else "")


def _links(behaviours: Iterable[Behaviour]) -> list[Link]:
    """Where the kernel has what the behaviours are taken from, in the first release that behaves so."""
    links: dict[str, Link] = {}
    for behaviour in behaviours:
        for source in behaviour.sources:
            path, colon, _ = source.partition(":")
            if colon and "/" in path and " " not in path:
                version = str(Version.parse(behaviour.since))
                url = SOURCE.format(path=path, version=version)
                links.setdefault(url, Link(LinkType.LINK, url, source))
    return list(links.values())


def _milliseconds(time: str) -> int:
    try:
        return int(datetime.fromisoformat(time).timestamp() * 1000)
    except ValueError:
        return 0


def _digest(*parts: str) -> str:
    """Identity of a test case or of its history: the same from run to run."""
    return hashlib.md5("\0".join(parts).encode(), usedforsecurity=False).hexdigest()
