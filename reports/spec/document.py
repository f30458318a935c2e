# SPDX-License-Identifier: MIT
"""The files of the specification. They load nothing, and work without the checkout.

A link into the suites leads to a copy of the test's source in the document, a link into the kernel to its tree at the
release that the ledger was read at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jinja2

from common import version
from common.place import ROOT
from reports.findings import FINDINGS
from reports.ledger import Ledger
from reports.sources import AS_OF
from reports.spec.content import KINDS, PROMISES, Specification
from reports.spec.tests import Test
from reports.spec.text import html
from reports.verdict import Matrix

TEMPLATES = ROOT / "reports" / "templates"
MARKDOWN = "specification.md"
STYLE = ("page/base.css", "spec/spec.css")
"""The colours and letters are those of the report's page."""


def files(ledger: Ledger, verdicts: Matrix | None = None) -> Iterator[tuple[str, str]]:
    """Name and text of each file; raises OSError."""
    spec = Specification(ledger, verdicts)
    environment = _environment(spec)
    render = partial(_render, environment)
    yield "spec.css", "".join((TEMPLATES / name).read_text(encoding="utf-8") for name in STYLE)
    yield "search.js", _search(spec)
    yield "index.html", render("index.html", here="index.html", up="")
    for area in spec.areas:
        yield f"{area.name}.html", render("area.html", area=area, here=f"{area.name}.html", up="")
    text = html(FINDINGS.read_text(encoding="utf-8"), partial(_link, spec))
    yield "findings.html", render("findings.html", text=text, here="findings.html", up="")
    for file in spec.files:
        lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
        up = "../" * len(Path("source", file).parent.parts)
        yield f"source/{file}.html", render("source.html", file=file, lines=lines, here=file, up=up)
    yield MARKDOWN, render("specification.md")


def write(out: Path, made: Mapping[str, str]) -> list[Path]:
    """Write files into ``out``; raises OSError. Returns those that a reader opens first."""
    for name, text in made.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return [out / "index.html", out / MARKDOWN]


def source(test: Test) -> str:
    """Address of a test's source in the document."""
    return f"source/{test.file}.html#L{test.line}"


def _link(spec: Specification, code: str) -> str:
    """Address of a finding's entry in the document; None if it has none."""
    if code in spec.ledger:
        return f"{spec.ledger[code].area}.html#{code}"
    if test := spec.test(code):
        return source(test)
    return f"source/{code}.html" if code in spec.files else ""


def _search(spec: Specification) -> str:
    rows = [
        [b.id, b.title, " ".join(b.statement.split()), b.area, b.promise]
        for b in (entry.behaviour for entry in spec.entries)
    ]
    script = (TEMPLATES / "spec" / "search.js").read_text(encoding="utf-8")
    return f"const BEHAVIOURS = {json.dumps(rows, ensure_ascii=False, separators=(',', ':'))};\n{script}"


def _environment(spec: Specification) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES / "spec"),
        autoescape=jinja2.select_autoescape(["html"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"flat": lambda text: " ".join(text.split()), "md": _escaped}
    environment.globals |= {
        "spec": spec,
        "words": spec.ledger.vocabulary,
        "promises": PROMISES,
        "kinds": KINDS,
        "as_of": AS_OF,
        "suite": version.text(ROOT),
        "source": source,
    }
    return environment


def _render(environment: jinja2.Environment, name: str, **values: Any) -> str:
    return environment.get_template(name).render(**values)


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is."""
    for sign in "\\`*_<>[]#|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
