# SPDX-License-Identifier: MIT
"""The pictures of docs/pictures, taken again: the page with 1 to 40 columns, the specification, and Allure.

    python -m tests.reports.pictures -o DIR RUN... [--allure REPORT] [--only GLOB] [--png]

Columns are those of the runs in turn, as tests.reports.many makes them. REPORT is what Allure has generated.
"""

from __future__ import annotations

import argparse
import base64
import functools
import http.server
import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from reports.commands import spec
from reports.ledger import Ledger
from reports.merge import merge
from reports.page import page
from reports.stream import read
from reports.verdict import matrix
from tests.reports import many
from tests.reports.browser import CHROMIUM, DRIVER, MISSING, Browser, browser

WIDE, NARROW = (1200, 760), (400, 760)
QUALITY = 75


@dataclass(frozen=True)
class Picture:
    """Where to look; ``before`` is a script that runs there, ``at`` an element to scroll to."""

    name: str
    source: str
    fragment: str = ""
    size: tuple[int, int] = WIDE
    before: str = ""
    at: str = ""
    dark: bool = False


PICTURES = (
    Picture("page-1", "page-1.html"),
    Picture("page-3", "page-3.html"),
    Picture("page-12", "page-12.html"),
    Picture("page-20", "page-20.html", at=".failures"),
    Picture(
        "page-40",
        "page-40.html",
        before="document.querySelector('.box').scrollTo(260, 1500)",
        at=".box",
    ),
    Picture("page-dark", "page-12.html", at=".failures", dark=True),
    Picture("page-cell", "page-12.html", "#{failing}"),
    Picture("page-compared", "page-20.html", "#?pair=mock/bmg&pair=guest/7.2.9&diff=1", at=".matrix"),
    Picture("page-grouped", "page-20.html", "#?q=is:different&group=kernel", at=".matrix"),
    Picture("page-narrow", "page-12.html", size=NARROW, at=".matrix"),
    Picture("spec-index", "spec/index.html"),
    Picture("spec-area", "spec/gc.html", "#gc.flush-on-bind"),
    Picture("spec-narrow", "spec/gc.html", "#gc.flush-on-bind", size=NARROW),
    Picture("allure-tree", "allure/index.html"),
    Picture("allure-categories", "allure/index.html", "#categories"),
)


def _made(folder: Path, runs: Sequence[Path], allure: Path | None) -> None:
    """The pages that pictures are taken of."""
    ledger = Ledger.load()
    events = [[json.loads(line) for line in path.read_text().splitlines()] for path in runs]
    for number in (1, 3, 12, 20, 40):
        merged = merge([read(path) for path in many.write(folder / f"streams-{number}", number, events)])
        text = page(merged, matrix(merged, ledger), ledger)
        (folder / f"page-{number}.html").write_text(text, encoding="utf-8")
    spec.main(["-o", str(folder / "spec"), "--results", str(runs[0])])
    if allure:
        (folder / "allure").symlink_to(allure.resolve())


def _failing(window: Browser) -> str:
    """Name of a cell that fails."""
    return str(
        window.run(
            "(() => { const td = document.querySelector('.box td.FAIL'), row = td.parentElement;"
            "const n = [...row.children].indexOf(td);"
            "return row.id.slice(4) + '@' + document.querySelectorAll('.box thead th a')[n - 1].title })()"
        )
    )


def _taken(window: Browser, server: str, picture: Picture, form: str) -> bytes:
    width, height = picture.size
    window.devtools(
        "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if picture.dark else "light"}
    window.devtools("Emulation.setEmulatedMedia", features=[scheme])
    address = f"{server}/{picture.source}"
    _opened(window, address, picture)
    if "{failing}" in picture.fragment:
        _opened(window, address + picture.fragment.format(failing=_failing(window)), picture)
    elif picture.fragment:
        _opened(window, address + picture.fragment, picture)
    if picture.at:
        window.run(f"document.querySelector({json.dumps(picture.at)}).scrollIntoView()")
    if picture.before:
        window.run(picture.before)
    window.wait_for("(globalThis.frames_ = (globalThis.frames_ ?? 0) + 1) > 20")
    quality = {"quality": QUALITY} if form == "webp" else {}
    return base64.b64decode(window.devtools("Page.captureScreenshot", format=form, **quality)["data"])


def _opened(window: Browser, address: str, picture: Picture) -> None:
    ready = {
        "page": "document.documentElement.classList.contains('ready')",
        "spec": "document.readyState === 'complete'",
        "allure": "document.querySelector('[data-testid^=tree-], [data-testid*=categor]')",
    }
    window.open_address("about:blank")
    window.open_address(address)
    window.wait_for(ready[picture.name.partition("-")[0]])


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    """Allure's report loads its data, which a browser does not do from files."""
    handler = functools.partial(_Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> None:
    """As the module says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", metavar="RUN", nargs="+", type=Path, help="streams to take results from")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, required=True)
    parser.add_argument(
        "--allure", metavar="REPORT", type=Path, help="folder of a report that Allure generated"
    )
    parser.add_argument("--only", metavar="GLOB", default="*", help="names of the pictures")
    parser.add_argument("--png", action="store_true", help="PNG in place of WebP")
    options = parser.parse_args()
    if not (CHROMIUM and DRIVER):
        parser.error(MISSING)
    wanted = [picture for picture in PICTURES if fnmatch(picture.name, options.only)]
    if not options.allure:
        wanted = [picture for picture in wanted if not picture.name.startswith("allure")]
    options.output.mkdir(parents=True, exist_ok=True)
    form = "png" if options.png else "webp"
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        _made(folder, options.runs, options.allure)
        with _served(folder) as server, browser(folder / "profile") as window:
            for picture in wanted:
                path = options.output / f"{picture.name}.{form}"
                path.write_bytes(_taken(window, server, picture, form))
                print(path)


if __name__ == "__main__":
    main()
