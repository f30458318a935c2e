# SPDX-License-Identifier: MIT
"""The programs of docs/findings: written from a run in which the tests of findings failed as known, and run.

    python -m tests.reproduce.findings --write RUN      a program for each finding that the run shows
    python -m tests.reproduce.findings --guest 7.3      run all of them in a guest: which kernels have the fault

``--guest`` prints what each program ends with: 1 where the fault is, 0 where it is not, 77 where it cannot tell. It
ends with 1 if that is not what the marks of the findings' tests (``@known``) say of the kernel. Programs that an
ordinary guest tells nothing (``GUESTS``) end with 77 there, and run in a guest of their own as well.
"""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from common.answers import NoAnswerError
from common.kernels import Kernels, Version
from ioctl import drm, xe
from ioctl.compiler import Compiler, find_compiler
from ioctl.encoding import Request
from ioctl.layout import Structure
from reports.event import FINDING, Outcome
from reports.findings import slug
from reports.marks import SUITES
from reports.spec.tests import constants, known_in
from reports.stream import read
from reproduce.cli import course_of, words_of
from reproduce.program import program
from reproduce.structures import definitions

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "findings"
FINDINGS = ROOT / "docs" / "findings.md"
SECONDS = 300
GUESTS = {
    "vm-bind-executes-operations-that-were-left-in-freed-memory": ("--append", "init_on_alloc=0"),
    "memory-of-a-peer-behind-its-small-bar-is-read-wrong": ("--emulator", "--vram 512M --bar 256M"),
}
"""Programs that cannot tell in an ordinary guest, with the options of ``svmcts guest`` for one in which they can."""
UNKNOWN = 77


def headings() -> list[str]:
    """Headings of docs/findings.md."""
    return re.findall(r"^### (.+)$", FINDINGS.read_text(encoding="utf-8"), re.MULTILINE)


def name_of(heading: str) -> str:
    """The file of a finding's program."""
    return f"{slug(heading)}.c"


def headers(folder: Path) -> Path:
    """A folder with drm/drm.h and drm/xe_drm.h of the suite's own definitions, for machines without the real ones."""
    place = folder / "include" / "drm"
    place.mkdir(parents=True, exist_ok=True)
    (place / "drm.h").write_text("")
    names = [
        name
        for module in (drm, xe)
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (
            isinstance(value, Request | int)
            or (
                isinstance(value, type)
                and issubclass(value, Structure)
                and value.__module__ == module.__name__
            )
        )
    ]
    includes = "#include <linux/types.h>\n#include <linux/ioctl.h>\n"
    (place / "xe_drm.h").write_text(includes + definitions(names) + "\n")
    return place.parent


def compiled(compiler: Compiler, folder: Path) -> Iterator[Path]:
    """Compile each program without a warning, into a folder; raises CompileError."""
    include = headers(folder)
    for source in sorted(FOLDER.glob("*.c")):
        threads = ["-pthread"] if "pthread.h" in source.read_text(encoding="utf-8") else []
        arguments = ["-Wall", "-Wextra", "-Werror", "-isystem", str(include), *threads]
        compiler.run(folder, *arguments, "-o", source.stem, str(source))
        yield folder / source.stem


def write(run_at: Path) -> None:
    """A program for the first KNOWN failure of each finding in a run."""
    run = read(run_at)
    FOLDER.mkdir(exist_ok=True)
    done: set[str] = set()
    for result in run.results:
        heading = result.reason.removeprefix(FINDING)
        if result.outcome is not Outcome.KNOWN or heading in done:
            continue
        words = words_of(run, result)
        try:
            text = program(
                course_of(run, result),
                replace(words, title=heading, behaviours=(result.test, *words.behaviours)),
            )
        except NoAnswerError as error:
            print(f"none: {error}")
            continue
        done.add(heading)
        (FOLDER / name_of(heading)).write_text(text, encoding="utf-8")
        print(name_of(heading))


def kernels_of() -> dict[str, list[Kernels]]:
    """Name of each finding's program to the kernels that have it, as its tests are marked."""
    found: dict[str, list[Kernels]] = {}
    for path in sorted(SUITES.rglob("*.py")):
        module = ast.parse(path.read_text(encoding="utf-8"))
        for heading, which in known_in(module, constants(module)):
            kernels = Kernels.parse(which.replace(" to ", "..").replace(" and later", ".."))
            found.setdefault(slug(heading), []).append(kernels)
    return found


def wrong(ended: Mapping[str, int], kernel: str, options: Sequence[str] = ()) -> list[str]:
    """Programs that do not show their finding on a kernel that has it, or show it on one that does not.

    ``options`` are those of the guest. Programs of ``GUESTS`` may end with 77 in any guest but their own.
    """
    version, marked = Version.parse(kernel), kernels_of()
    lines = []
    for name, status in ended.items():
        has = any(version in kernels for kernels in marked[name])
        if (status == 1) == has or (status == UNKNOWN and GUESTS.get(name, options) != options):
            continue
        lines.append(f"{name}: {status}, and Linux {version} {'has' if has else 'does not have'} the fault")
    return lines


def in_guest(kernel: str) -> int:
    """Run all programs in a guest with two GPUs, and those of ``GUESTS`` in theirs; 1 if one ends as it must not."""
    with tempfile.TemporaryDirectory(prefix="svmcts-findings-") as folder:
        programs = list(compiled(find_compiler(), Path(folder)))
        bad = _complaints(kernel, (), programs)
        for name, options in GUESTS.items():
            bad += _complaints(kernel, options, [one for one in programs if one.name == name])
    print("\n".join(bad), file=sys.stderr)
    return int(bool(bad))


def _complaints(kernel: str, options: Sequence[str], programs: Sequence[Path]) -> list[str]:
    """Run programs in one guest; a line for each that does not end as it has to there."""
    script = "; ".join(
        f'said=$({one} 2>&1); ended=$?; echo "$said" | tail -n 1; echo {one.name}: $ended' for one in programs
    )
    guest = ["guest", "--kernel", kernel, "--gpus", "2", *options]
    if options:
        print(f"in a guest with {shlex.join(options)}:", flush=True)
    done = subprocess.run(
        [ROOT / "svmcts", *guest, "--", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    print(done.stdout, end="", flush=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    ended = {
        name: int(status) for name, status in re.findall(r"^([\w-]+): (\d+)$", done.stdout, re.MULTILINE)
    }
    missing = [f"{one.name}: not run" for one in programs if one.name not in ended]
    return wrong(ended, kernel, options) + missing


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.reproduce.findings",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--write", type=Path, metavar="RUN")
    parser.add_argument("--guest", metavar="KERNEL")
    options = parser.parse_args()
    if options.write:
        write(options.write)
    return in_guest(options.guest) if options.guest else 0


if __name__ == "__main__":
    sys.exit(main())
