# SPDX-License-Identifier: MIT
"""``svmcts.toml``: settings of a lab, in place of options of each command; docs/lab.md has the keys.

It is read where a command starts, or with ``--lab FILE``. An option on the command line overrides its key. Paths in it
are relative to it.
"""

from __future__ import annotations

import argparse
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.answers import NoAnswerError
from common.near import near_or_all, near_path
from common.text import one_line

NAME = "svmcts.toml"
FILES = ("expect", "waivers", "baseline")
WORDS = ("origin", "tree")
DEVICES = "devices"
KEYS = (DEVICES, *FILES, *WORDS)
HELP = f"lab file (docs/lab.md; default: {NAME} of the current folder, if there is one)"


class LabError(NoAnswerError):
    """An error in a lab file: one line with file, line and key."""


@dataclass(frozen=True, slots=True)
class Lab:
    """The contents of a lab file; empty without one."""

    path: Path | None = None
    text: str = field(default="", repr=False)
    devices: Mapping[str, str] = field(default_factory=dict)
    """Name to the path of a render node."""
    words: Mapping[str, str] = field(default_factory=dict)
    """The keys that are text."""

    def word(self, key: str) -> str:
        """The text of a key; empty if it is not there."""
        return self.words.get(key, "")

    def file(self, key: str) -> Path | None:
        """The file of a key, None if it is not there; raises LabError if it is, and the file is not."""
        word = self.word(key)
        if not word or self.path is None:
            return None
        path = self.path.parent / word
        if not path.exists():
            raise self.error(key, f"{path}: no such file{near_path(path)}")
        return path

    def error(self, key: str, why: str) -> LabError:
        """An error of a key."""
        pattern = re.compile(rf"\s*(\[\s*)?\"?{re.escape(key)}\"?\s*(=|\])")
        lines = enumerate(self.text.split("\n"), 1)
        line = next((number for number, text in lines if pattern.match(text)), 1)
        return LabError(f"{self.path}:{line}: {key}: {one_line(why)}")


def add_option(parser: argparse.ArgumentParser) -> None:
    """Give a command its ``--lab``."""
    parser.add_argument("--lab", metavar="FILE", type=Path, help=HELP)


def find(asked: Path | None, folder: Path | None = None) -> Lab:
    """The lab of ``--lab``, or that of a folder, which may have none; raises LabError."""
    folder = folder or Path()
    if asked is None and not (folder / NAME).exists():
        return Lab()
    path = folder / (asked or NAME)
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise LabError(f"--lab {asked or NAME}: {error.strerror}{near_path(path)}") from None
    except (ValueError, RecursionError) as error:
        at = re.search(r"\(at line (\d+)", str(error))
        raise LabError(f"{path}:{at[1] if at else 1}: not TOML: {one_line(str(error))}") from None
    return _checked(Lab(path, text), document)


def _checked(lab: Lab, document: Mapping[str, Any]) -> Lab:
    for key, value in document.items():
        if key not in KEYS:
            raise lab.error(key, f"no such key{near_or_all(key, KEYS)}")
        if key == DEVICES:
            if not isinstance(value, dict) or not value:
                raise lab.error(
                    key, 'has to be a table of names and paths, as in left = "/dev/dri/renderD128"'
                )
            for name, node in value.items():
                if not _is_word(node) or "/" in name:
                    raise lab.error(
                        name, 'a device has a name and a path, as in left = "/dev/dri/renderD128"'
                    )
        elif not _is_word(value):
            what = "the path of a file" if key in FILES else "a name"
            raise lab.error(key, f'has to be text, {what}, as in {key} = "{_EXAMPLES[key]}"')
    words = {key: document[key] for key in (*FILES, *WORDS) if key in document}
    return Lab(lab.path, lab.text, document.get(DEVICES, {}), words)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


_EXAMPLES = {
    "expect": "expect.toml",
    "waivers": "waivers.toml",
    "baseline": "runs/accepted",
    "origin": "ourlab",
    "tree": "mainline",
}
