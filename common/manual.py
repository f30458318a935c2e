# SPDX-License-Identifier: MIT
"""``svmcts manual``: the manual page svmcts(1), made from what each command's --help says."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from common.parsers import commands, parsers
from common.version import VERSION

DESCRIPTION = """\
Prints the manual page svmcts(1), generated from the --help of each command. The wheel installs it as
share/man/man1/svmcts.1. To read it: svmcts manual | man -l -
"""
STATUS = "exit status: 0 written"
OURS = "svm-cts"
"""Start of the titles of the suite's groups of options; those of other groups are in pytest's own manual."""
ABOUT = """\
svmcts runs a conformance suite for GPU shared virtual memory of the xe driver: on a mock of the driver, in a guest with
an emulated GPU, or on hardware. It reports, compares and judges its runs, and builds and bisects kernels for it.
"""
ENVIRONMENT = {
    "SVMCTS_DIR": "where an installed suite writes reports/out; the current directory by default",
    "SVMCTS_KEEP_RUNS": "how many runs are kept (20)",
    "XDG_CACHE_HOME": "where svm-cts/ has kernels, QEMU and compiled Python; ~/.cache by default",
}


def main(arguments: list[str]) -> int:
    """Exit status: 0."""
    parser = argparse.ArgumentParser("svmcts manual", description=DESCRIPTION, epilog=STATUS)
    parser.parse_args(arguments)
    print(page(), end="")
    return 0


def page() -> str:
    """The manual page, in the man(7) language."""
    lines = [
        r".\" SPDX-License-Identifier: MIT",
        f'.TH SVMCTS 1 "" "svm-cts {VERSION}" "User Commands"',
        ".nh",
        ".ad l",
        *_section("NAME", ["svmcts \\- conformance suite for GPU shared virtual memory"]),
        *_section("SYNOPSIS", [r"\fBsvmcts\fR [\fB\-\-debug\fR] \fICOMMAND\fR [\fIARGUMENTS\fR]"]),
        *_section("DESCRIPTION", _text(ABOUT)),
        *_section("COMMANDS", []),
    ]
    found = parsers()
    for name, parser in found.items():
        purpose = commands().get(name, (None, parser.description or ""))[1]
        lines += [f'.SS "{_escaped(f"svmcts {name}")}"', *_text(purpose[:1].upper() + purpose[1:] + ".")]
        lines += list(_command(parser, name == "run"))
    lines += _section(
        "EXIT STATUS", _text("0 for yes, 1 for no and 2 for no answer, unless a command says otherwise.")
    )
    lines += [".SH ENVIRONMENT"]
    for name, what in ENVIRONMENT.items():
        lines += [".TP", rf"\fB{name}\fR", *_text(what)]
    lines += _section("SEE ALSO", [r"\fBpytest\fR(1), and the documents that come with the suite"])
    return "\n".join(lines) + "\n"


def _section(title: str, lines: list[str]) -> list[str]:
    return [f".SH {title}", *lines]


def _command(parser: argparse.ArgumentParser, pytest: bool) -> Iterator[str]:
    formatter = parser._get_formatter()
    if pytest:
        yield from (".PP", *_text("Options of the suite, in addition to pytest's:"))
    else:
        usage = formatter._format_usage(parser.usage, parser._actions, [], "")
        yield from (".PP", *_text(" ".join(usage.split())))
        yield from (".PP", *_text(parser.description or ""))
    for group in parser._action_groups:
        if pytest and not str(group.title).startswith(OURS):
            continue
        for action in group._group_actions:
            if action.help == argparse.SUPPRESS or action.dest == "help":
                continue
            yield ".TP"
            yield rf"\fB{_escaped(formatter._format_action_invocation(action))}\fR"
            yield from _text(formatter._expand_help(action) if action.help else "")
            if isinstance(action, argparse._SubParsersAction):
                yield from _nested(action)
    if not pytest:
        yield from (".PP", *_text(parser.epilog or ""))


def _nested(action: argparse._SubParsersAction[argparse.ArgumentParser]) -> Iterator[str]:
    for parser in action.choices.values():
        yield ".RS"
        yield from _command(parser, False)
        yield ".RE"


def _text(text: str) -> list[str]:
    """Paragraphs; what is indented stays as it is."""
    lines = []
    for block in re.split(r"\n\s*\n", text.strip("\n")):
        if not block.strip():
            continue
        rows = block.splitlines()
        if any(row.startswith(" ") for row in rows[1:]) or block.startswith(" "):
            lines += [".PP", ".nf", *(_escaped(row) for row in rows), ".fi"]
        else:
            lines += ([".PP"] if lines else []) + [_escaped(" ".join(block.split()))]
    return lines


def _escaped(text: str) -> str:
    text = text.replace("\\", r"\e").replace("-", r"\-")
    return re.sub(r"^([.'])", r"\\&\1", text)
