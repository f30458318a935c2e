# SPDX-License-Identifier: MIT
"""Categories of Allure, and ``allurerc.mjs``, the configuration of Allure 3.

Allure 3 reads no categories.json, and tells environments apart by a function: so its configuration is a
program. It lies among the results that it is of, because it names their environments:

    npx allure generate --config allure-results/allurerc.mjs
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from typing import Any

from reports.event import Environment
from reports.verdict import DRIVER

NAME = "allurerc.mjs"
HOST = "host"
"""The label of a result that has the name of its environment."""
LONGEST = 64
"""Characters that Allure takes for the id and the name of an environment."""

_CATEGORIES = {
    "driver behaviour": f"{DRIVER} (FAIL|XPASS)",
    "kernel complained": "(FAIL|ERROR): the kernel (complained|was tainted)",
    "emulated GPU complained": "(FAIL|ERROR): .*the emulated GPU reports",
    "wrong errno": "FAIL: (expected E[A-Z]+|E[A-Z]+: )",
    "wrong data": "FAIL: the (CPU|GPU) sees",
    "deadline": "FAIL: (Timeout|timed out|the test did not end)",
    "other failures": "FAIL",
    "vacuous": "ERROR: vacuous",
    "process died": "ERROR: (the process|began and has no result)",
    "capability lost": r"ERROR: \S+ is expected: ",
    "error of the suite": "ERROR",
    "never began": "NOTRUN",
    "passed, though a failure was expected": "XPASS",
    "failed as known": "KNOWN",
    "could not be exercised here": "UNTESTED",
    "not claimed by the device": "NOT-CLAIMED",
}
"""Name of a category to how the message of a result begins; the first that fits is taken."""

_PROGRAM = """\
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const of = (host) => ({ labels }) => labels.some((label) => label.name === HOST && label.value === host);

export default {
  name: "GPU SVM conformance",
  resultsDir: here,
  output: join(here, "..", "allure-report"),
  categories: CATEGORIES.map(({ name, begins }) => ({ id: name, name, matchers: { message: `^(${begins})` } })),
  environments: Object.fromEntries(
    ENVIRONMENTS.map(({ id, name, host, variables }) => [id, { name, variables, matcher: of(host) }]),
  ),
  plugins: { awesome: { options: { groupBy: [], defaultSortBy: "status,asc" } } },
};
"""


def categories() -> str:
    """categories.json, for Allure 2: its expressions are Java's, and have to fit the whole message."""
    rules = [{"name": name, "messageRegex": f"(?s)({begins}).*"} for name, begins in _CATEGORIES.items()]
    return json.dumps(rules, indent=1) + "\n"


def configuration(environments: Iterable[Environment]) -> str:
    """allurerc.mjs, for Allure 3."""
    described: list[dict[str, Any]] = []
    for environment in environments:
        taken = [known["id"] for known in described]
        described.append(
            {
                "id": _free(re.sub(r"[^A-Za-z0-9_-]+", "-", environment.name), taken),
                "name": _free(
                    re.sub(r"[/\\\s]+", " ", environment.name), [known["name"] for known in described]
                ),
                "host": environment.name,
                "variables": facts(environment),
            }
        )
    rules = [{"name": name, "begins": begins} for name, begins in _CATEGORIES.items()]
    return "\n".join(
        [
            "// The configuration of Allure 3 for the results in this folder.",
            f"const HOST = {json.dumps(HOST)};",
            f"const ENVIRONMENTS = {json.dumps(described, indent=1)};",
            f"const CATEGORIES = {json.dumps(rules, indent=1)};",
            _PROGRAM,
        ]
    )


def facts(environment: Environment) -> dict[str, str]:
    """Facts of an environment."""
    said = {what: environment.fields.get(what, "") for what in ("kernel", "header")}
    said |= {
        f"gpu{number}": str(device.get("pci_id", "unknown"))
        for number, device in enumerate(environment.devices)
    }
    said["capabilities"] = " ".join(name for name, there in environment.capabilities.items() if there)
    return {name: " ".join(text.split()) for name, text in said.items() if text}


def _free(text: str, taken: Collection[str]) -> str:
    """The text, as long as Allure takes it, and with a number if others have it."""
    text = text.strip() or "-"
    tries = [text[:LONGEST], *(f"{text[: LONGEST - 4]}-{number}" for number in range(2, len(taken) + 2))]
    return next(name for name in tries if name not in taken)
