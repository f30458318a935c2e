# SPDX-License-Identifier: MIT
"""The JUnit that Jenkins' xUnit plugin accepts (its junit-10.xsd): a file with anything else is dropped as a whole.

Elements for tests that ran several times are left out: a report of ours has none.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

_SAID = {"type": False, "message": False}
_COUNTS = dict.fromkeys(("tests", "failures", "errors"), True)
ATTRIBUTES: dict[str, dict[str, bool]] = {
    "testsuites": {"name": False, "time": False, **dict.fromkeys(_COUNTS, False)},
    "testsuite": {
        "name": True,
        **_COUNTS,
        **dict.fromkeys(
            (
                "group",
                "time",
                "skipped",
                "timestamp",
                "hostname",
                "id",
                "package",
                "file",
                "log",
                "url",
                "version",
            ),
            False,
        ),
    },
    "properties": {},
    "property": {"name": True, "value": True},
    "testcase": {"name": True, "time": False, "classname": False, "group": False},
    "skipped": _SAID,
    "error": _SAID,
    "failure": _SAID,
    "system-out": {},
    "system-err": {},
}
"""Attributes of each element, and whether it must have them."""
CHILDREN = {
    "testsuites": {"testsuite"},
    "testsuite": {"testsuite", "properties", "testcase", "system-out", "system-err"},
    "properties": {"property"},
    "testcase": {"skipped", "error", "failure", "system-out", "system-err"},
}
_TIME = re.compile(r"[0-9,]*(\.[0-9]{0,3})?")


def errors(root: ET.Element) -> list[str]:
    """Parts that the plugin would not accept, one line each."""
    found = [] if root.tag == "testsuites" else [f"the root is {root.tag}"]
    for element in root.iter():
        found += _errors(element)
    return found


def _errors(element: ET.Element) -> list[str]:
    tag = element.tag
    if tag not in ATTRIBUTES:
        return [f"unknown element {tag}"]
    known = ATTRIBUTES[tag]
    found = [f"{tag} has {name}" for name in element.attrib if name not in known]
    found += [
        f"{tag} lacks {name}" for name, needed in known.items() if needed and name not in element.attrib
    ]
    found += [f"{tag} has a {child.tag}" for child in element if child.tag not in CHILDREN.get(tag, ())]
    if tag in ("testsuite", "testsuites") and not _TIME.fullmatch(element.get("time", "")):
        found.append(f"{tag} has the time {element.get('time')}")
    mixed = tag in ("skipped", "error", "failure", "system-out", "system-err", "property")
    texts = [element.text, *(child.tail for child in element)]
    if not mixed and any((text or "").strip() for text in texts):
        found.append(f"{tag} has text")
    return found
