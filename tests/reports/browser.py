# SPDX-License-Identifier: MIT
"""A real browser for tests: headless Chromium behind chromedriver, spoken to over WebDriver (plain HTTP and JSON)."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
MISSING = "needs Chromium and chromedriver (Debian: chromium chromium-driver)"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
"""Key of an element's id, by the WebDriver standard."""


PATIENCE = 10_000
"""Milliseconds that an element may take to appear."""


class Browser:
    """One window."""

    def __init__(self, session: str) -> None:
        self._session = session

    def _call(self, method: str, path: str, **body: Any) -> Any:
        data = json.dumps(body).encode() if method == "POST" else None
        request = urllib.request.Request(f"{self._session}{path}", data, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def open(self, path: Path, fragment: str = "") -> None:
        """Show a file."""
        self.open_address(path.as_uri() + fragment)

    def open_address(self, address: str) -> None:
        """Show what is at an address."""
        self._call("POST", "/url", url=address)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression; also where the page may run no script."""
        return self._call("POST", "/execute/sync", script=f"return {script}", args=[])

    def wait_for(self, script: str, seconds: float = 60) -> None:
        """Wait until a JavaScript expression is true; the page continues in the meantime."""
        self._call("POST", "/timeouts", script=int(seconds * 1000))
        self._call(
            "POST",
            "/execute/async",
            script="const done = arguments[0];"
            f"const look = () => ({script}) ? done() : requestAnimationFrame(look); look();",
            args=[],
        )

    @contextmanager
    def before_any_script(self, script: str) -> Iterator[None]:
        """Run a script in each page that is opened, before those of the page."""
        added = self.devtools("Page.addScriptToEvaluateOnNewDocument", source=script)
        try:
            yield
        finally:
            self.devtools("Page.removeScriptToEvaluateOnNewDocument", **added)

    def devtools(self, command: str, **parameters: Any) -> Any:
        """Chromium's own protocol, for what WebDriver cannot do."""
        return self._call("POST", "/goog/cdp/execute", cmd=command, params=parameters)

    def find(self, selector: str) -> str:
        """The first element that a CSS selector names, once it is there; raises HTTPError if none appears."""
        found: str = self._call("POST", "/element", using="css selector", value=selector)[_ELEMENT]
        return found

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        self._call("POST", f"/element/{self.find(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        """Type into an element."""
        self._call("POST", f"/element/{self.find(selector)}/value", text=text)

    def press(self, key: str) -> None:
        """Press a key (\\ue00c is Escape)."""
        strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
        self._call("POST", "/actions", actions=[{"type": "key", "id": "keys", "actions": strokes}])

    def sees(self, selector: str) -> bool:
        """Whether an element is shown."""
        return bool(self._call("GET", f"/element/{self.find(selector)}/displayed"))

    def text(self, selector: str) -> str:
        """The visible text of an element."""
        return str(self._call("GET", f"/element/{self.find(selector)}/text"))

    def resize(self, width: int, height: int) -> None:
        """Make the window this large, in pixels."""
        self._call("POST", "/window/rect", width=width, height=height)

    def pdf(self) -> bytes:
        """The page, printed."""
        # WebDriver's own command waits for no more than ten seconds.
        return base64.b64decode(self.devtools("Page.printToPDF")["data"])

    def complaints(self) -> list[str]:
        """Errors of the console since the last call."""
        log = self._call("POST", "/se/log", type="browser")
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]


@contextmanager
def browser(profile: Path, scripts: bool = True) -> Iterator[Browser]:
    """A browser with an empty profile; without ``scripts`` pages cannot run any."""
    assert DRIVER
    preferences = {} if scripts else {"profile.managed_default_content_settings.javascript": 2}
    options = {"binary": CHROMIUM, "args": [*FLAGS, f"--user-data-dir={profile}"], "prefs": preferences}
    with subprocess.Popen(
        [DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as driver:
        try:
            assert driver.stdout
            line = next(line for line in driver.stdout if "started successfully on port" in line)
            server = f"http://127.0.0.1:{line.split()[-1].rstrip('.')}"
            wanted = {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL"},
                "timeouts": {"implicit": PATIENCE},  # a page makes its menus when they are opened
            }
            value = Browser(server)._call("POST", "/session", capabilities={"alwaysMatch": wanted})
            window = Browser(f"{server}/session/{value['sessionId']}")
            try:
                yield window
            finally:
                window._call("DELETE", "")
        finally:
            driver.terminate()
