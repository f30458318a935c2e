# SPDX-License-Identifier: MIT
"""The machine of the tests, as a place for programs that need no device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Here:
    """A place that is this machine."""

    sound: Here | None = None

    @property
    def name(self) -> str:
        return "here"

    @property
    def command(self) -> list[str]:
        return []


def script(folder: Path, name: str, text: str) -> Path:
    """A program that is a shell script."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
