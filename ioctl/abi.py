# SPDX-License-Identifier: MIT
"""``svmcts abi``: does this xe_drm.h keep what programs were built for?"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common.answers import NoAnswerError
from common.text import visible
from ioctl import facts, history, syzlang, xe
from ioctl.compare import Finding, Kind, compare, differing_layout, ordered, plain
from ioctl.compiler import find_compiler
from ioctl.facts import Field, Number, Size, Table, Text, Value, spare, struct_of
from ioctl.history import History, Version
from ioctl.probe import Probe
from ioctl.source import HeaderError, Source, find

INSTALLED = (Path("/usr/include/drm/xe_drm.h"), Path("/usr/include/libdrm/xe_drm.h"))
DESCRIPTION = """\
Checks structures, request numbers, flags and enum values of an xe_drm.h, measured by a C compiler ($CC, or cc, gcc or
clang) for 64-bit and for 32-bit programs, against the recorded uAPI of a kernel version or against another header. Each
change that breaks programs built for that one is reported in one line; so is a new name that a recorded version has
with another value or place. Other new names are listed.

HEADER and BASE are a file, a pipe or a file of a git revision:

  svmcts abi include/uapi/drm/xe_drm.h
  svmcts abi xe_drm.h --base 6.18
  svmcts abi HEAD:include/uapi/drm/xe_drm.h --base v7.3:include/uapi/drm/xe_drm.h
  svmcts abi xe_drm.h --base <(ssh host cat /usr/include/drm/xe_drm.h)
"""
RECORDING = """\
A new kernel: svmcts abi --record 7.4 path/to/include/drm/xe_drm.h --from 'linux-libc-dev 7.4.1-1', then review the
difference of ioctl/abi_history.json, bring the new names into ioctl/xe.py and set its LINUX.

exit status: 0 nothing breaks, 1 something breaks, 2 no answer: the header or one of its widths was not checked
"""


@dataclass(frozen=True)
class Base:
    """The header's counterpart, and how it was chosen."""

    table: Table
    label: str


def main(argv: list[str]) -> int:
    """Exit status: 0 nothing breaks, 1 something breaks, 2 no answer."""
    options = _options(argv)
    if options.syzlang:
        _say(syzlang.descriptions())
        return 0
    if options.history:
        _say("\n".join(_history(history.recorded())))
        return 0
    compiler = find_compiler()
    with tempfile.TemporaryDirectory(prefix="svmcts-abi-") as scratch:
        probe = Probe(find(options.header or _installed(), Path(scratch)), compiler)
        if options.record:
            return _record(probe, options.record, options.origin)
        return _check(probe, _base(options.base, probe, Path(scratch)))


def _options(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="svmcts abi",
        description=DESCRIPTION,
        epilog=RECORDING,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("header", nargs="?", metavar="HEADER", help="an xe_drm.h (default: the installed one)")
    add("--base", metavar="BASE", help="compare with this recorded version, or with another xe_drm.h")
    add("--history", action="store_true", help="list what each recorded version added")
    add("--syzlang", action="store_true", help="write the xe ioctls as descriptions for syzkaller")
    add("--record", metavar="VERSION", help="record HEADER as that of a kernel version")
    add("--from", dest="origin", metavar="TEXT", help="with --record: origin of HEADER")
    options = parser.parse_args(argv)
    if options.record and not (options.header and options.origin):
        parser.error("--record needs HEADER and --from")
    if options.origin and not options.record:
        parser.error("--from has no effect without --record")
    wholly = [name for name in ("history", "syzlang", "record") if getattr(options, name)]
    if len(wholly) > 1:
        parser.error(" and ".join(f"--{name}" for name in wholly) + " are different commands")
    if wholly and wholly != ["record"] and options.header:
        parser.error(f"--{wholly[0]} takes no HEADER")
    if wholly and options.base:
        parser.error(f"--base has no effect with --{wholly[0]}")
    return options


def _say(text: str) -> None:
    print(visible(text))


def _installed() -> str:
    for path in INSTALLED:
        if path.is_file():
            return str(path)
    looked = " or ".join(map(str, INSTALLED))
    raise NoAnswerError(
        f"no {looked}: give a HEADER, or install one (Debian: apt-get install linux-libc-dev)"
    )


def _base(wanted: str | None, probe: Probe, scratch: Path) -> Base:
    past = history.recorded()
    if wanted is not None:
        if wanted in past.names:
            return Base(past.promised(wanted), f"Linux {wanted}")
        if ":" not in wanted and not Path(wanted).exists():
            raise NoAnswerError(f"--base {wanted}: no file, and recorded are {', '.join(past.names)}")
        try:
            return Base(Probe(find(wanted, scratch), probe.compiler).table(), wanted)
        except HeaderError as error:
            raise NoAnswerError(f"--base {error}") from None
    if probe.source.kernel is None:
        version = _guess(past, probe.source, probe.table())
        return Base(past.promised(version), f"Linux {version}, the newest it has names of; --base chooses")
    version, said_by = probe.source.kernel
    older = [name for name in past.names if history.sort_key(name) <= history.sort_key(version)]
    if not older:
        raise NoAnswerError(
            f"{probe.source.label} is of Linux {version} ({said_by}), recorded are {past.names[0]} and later"
        )
    return Base(past.promised(older[-1]), f"Linux {older[-1]}, as {said_by} says {version}")


def _guess(past: History, source: Source, table: Table) -> str:
    """The newest version of which the header has a name, and later ones that added no names."""
    ages = {
        past.since[name].removeprefix("<=") for name in table if name in past.since.keys() - past.backported
    }
    if not ages:
        raise NoAnswerError(f"{source.label}: has no name of any recorded xe_drm.h, give a --base")
    found = max(ages, key=history.sort_key)
    for name in past.names[past.names.index(found) + 1 :]:
        if name in (age.removeprefix("<=") for age in past.since.values()):
            break
        found = name
    return found


def _check(probe: Probe, base: Base) -> int:
    table = probe.table()
    missing = ""
    narrow: Table | None = None
    try:
        narrow = probe.table("-m32")
    except HeaderError as error:
        missing = str(error)
    findings = compare(base.table, table, history.recorded())
    findings += differing_layout(table, narrow) if narrow is not None else ()
    findings += _own(table, {finding.name for finding in findings if finding.kind is Kind.BREAKS})
    widths = "64 bits only" if narrow is None else "64 and 32 bits"
    _say(f"{probe.source.label}: compared with {base.label}; {widths}")
    for finding in ordered(findings):
        _say(str(finding))
    counts = {kind: sum(finding.kind is kind for finding in findings) for kind in Kind}
    unknown = sum(name not in facts.of_module(xe) and not spare(name) for name in table)
    rest = f"; ioctl/xe.py does not have {unknown} of the names yet" if unknown else ""
    _say(", ".join(f"{count} {kind.value}" for kind, count in counts.items()) + rest)
    if counts[Kind.BREAKS]:
        return 1
    if narrow is None:
        raise NoAnswerError(f"not checked for 32-bit programs: {missing}")
    return 0


def _own(table: Table, reported: set[str]) -> Iterator[Finding]:
    """Differences between this package's structures and the header, unless already reported."""
    for name, fact in facts.of_module(xe).items():
        now = table.get(name)
        if now is None or name in reported or spare(name) or (isinstance(now, Value) and not now.abi):
            continue
        if now != fact:
            yield Finding(Kind.BREAKS, name, f"ioctl/xe.py has {fact}, the header {now}")


def _record(probe: Probe, version: str, origin: str) -> int:
    past = history.recorded()
    if not re.fullmatch(r"\d+\.\d+", version):
        raise NoAnswerError(f"--record {version}: a version is MAJOR.MINOR")
    table = probe.table()
    older = [name for name in past.names if history.sort_key(name) < history.sort_key(version)]
    if older:
        findings = compare(past.promised(older[-1]), table, past.without(version))
        broken = [finding for finding in findings if finding.kind is Kind.BREAKS]
        if broken:
            _say("\n".join(map(str, broken)))
            raise NoAnswerError(f"not recorded: {probe.source.label} breaks the uAPI of {older[-1]}")
    history.write(past.with_version(version, origin, table))
    _say(f"{version}: {len(table)} facts recorded in {history.FILE}")
    return 0


def _history(past: History) -> Iterator[str]:
    before: str | None = None
    for entry in past.versions:
        gap = f", with what came after {before}" if before != history.predecessor(entry.version) else ""
        yield f"Linux {entry.version} ({entry.header}{gap if before else ', the oldest recorded'})"
        lines = list(_brought(past, entry)) if before else list(_counted(entry))
        yield from (f"  {line}" for line in lines or ["nothing"])
        before = entry.version


def _counted(entry: Version) -> Iterator[str]:
    for what, kind in (("requests", Number), ("structures", Size), ("flags, values and limits", Value)):
        yield f"{sum(isinstance(fact, kind) for fact in entry.changed.values())} {what}"


def _brought(past: History, entry: Version) -> Iterator[str]:
    earlier = past.table(past.names[past.names.index(entry.version) - 1])
    for name, fact in entry.changed.items():
        update = f", from {past.backported[name]} by a stable update" if name in past.backported else ""
        verb = "changes" if name in earlier else "adds"
        match fact:
            case Size():
                inner = [key for key in entry.changed if struct_of(key) == name != key]
                fields = ", ".join(key.removeprefix(name + ".") for key in inner)
                yield f"{verb} struct {name}, {fact.size} bytes: {fields}"
            case Field():
                if struct_of(name) in earlier:
                    yield f"{verb} field {name}, {fact.type} at {fact.offset}"
            case Number():
                yield f"{verb} request {name} = {fact.number:#x}"
            case Value():
                yield f"{verb} {name} = {plain(fact.value)}{update}"
            case Text():
                yield f'{verb} {name} = "{fact.text}"'
    for name in entry.removed:
        update = f", which came to {entry.version} by no stable update" if name in past.backported else ""
        yield f"lacks {name}{update}"
