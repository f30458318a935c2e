# SPDX-License-Identifier: MIT
"""``svmcts completion SHELL``: a script by which a shell completes commands, options and their values."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import shtab

from common.parsers import commands, parsers

DESCRIPTION = """\
Prints a script that completes commands, options and values, generated from the options of this release.

  bash  source <(svmcts completion bash)
  zsh   svmcts completion zsh > ~/.zfunc/_svmcts, with ~/.zfunc in fpath
  fish  svmcts completion fish > ~/.config/fish/completions/svmcts.fish
"""
STATUS = "exit status: 0 written"
SHELLS = ("bash", "zsh", "fish")
PATHS = ("DIR", "DIRECTORY", "FILE", "FILE.toml", "HEADER", "LINUX", "LINUX_TREE", "PATH", "RUN", "TREE")
"""How arguments that are paths are shown."""


def main(arguments: list[str]) -> int:
    """Exit status: 0."""
    parser = argparse.ArgumentParser(
        "svmcts completion",
        description=DESCRIPTION,
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("shell", choices=SHELLS)
    options = parser.parse_args(arguments)
    print(shtab.complete(together(), options.shell))
    return 0


def together() -> argparse.ArgumentParser:
    """One parser, of which the commands are subcommands."""
    root = argparse.ArgumentParser("svmcts")
    root.add_argument("--version", action="store_true", help="print the release and its commit")
    root.add_argument("--debug", action="store_true", help="show the traceback of an unexpected error")
    known = root.add_subparsers()
    found = parsers()
    for name, (_, purpose) in commands().items():
        added: Any = known.add_parser(name, help=purpose, add_help=False)
        _take(added, found[name])
    return root


def _take(added: argparse.ArgumentParser, parser: argparse.ArgumentParser) -> None:
    """Give a subcommand the arguments of a command's own parser."""
    for action in parser._actions:
        metavar = action.metavar if isinstance(action.metavar, str) else ""
        if action.type is Path or (not action.choices and metavar.rpartition("=")[2] in PATHS):
            action.complete = shtab.FILE  # type: ignore[attr-defined]
        added._add_action(action)
