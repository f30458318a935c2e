# SPDX-License-Identifier: MIT
"""``svmcts kernel``: build kernels for guests, list those that were built, fetch the source of one."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from common.answers import NoAnswerError
from common.near import near_or_all
from guest import GuestError, builds, kconfig, sources
from guest.builds import Build

STATUS = "exit status: 0 built, now or before; 2 not built, 130 interrupted"
SOURCE_STATUS = "exit status: 0 its directory is printed; 2 there is none, 130 interrupted"
BUILD = """\
Builds a kernel with what guests need and nothing else (about 1,000 options), and keeps it under the printed
name, for --guest and --kernel:

    svmcts kernel build ~/linux                     # the commit that is checked out, or the work tree with changes
    svmcts kernel build linux-7.3.tar.xz
    svmcts kernel build --debian 7.3 --profile lockdep+faults+debug-vm

The source is copied into the cache, and built there: nothing is written into the tree, and it may change. An
interrupted build continues where it stopped, and the next commit of a tree builds only what it changes.
"""


def main(arguments: list[str]) -> int:
    """Exit status: 0 done, now or before; 2 not done, 130 interrupted."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # nothing that was started outlives this program
    options = _parser().parse_args(arguments)
    try:
        return ACTIONS[options.action](options)
    except GuestError as error:
        raise NoAnswerError(str(error)) from None
    except KeyboardInterrupt:
        print("svmcts kernel: interrupted; the same command continues from here", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "svmcts kernel",
        description="Builds kernels for guests, lists them, and fetches their source.",
        epilog=STATUS,
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="build | list | source")
    profiles = "\n".join(f"  {name:10} {what}" for name, what in kconfig.PROFILES.items())
    build = actions.add_parser(
        "build",
        description=BUILD,
        epilog=f"profiles:\n{profiles}\n\n{STATUS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        help="build a kernel",
    )
    build.add_argument(
        "tree", nargs="?", metavar="TREE", help="a git tree of the kernel, or a tarball of its source"
    )
    build.add_argument(
        "--debian", metavar="VERSION", help="Debian's source of a version (7.3, 7.3.4) in place of TREE"
    )
    build.add_argument("--commit", metavar="REVISION", help="this commit of TREE (default: its work tree)")
    build.add_argument(
        "--profile",
        action="append",
        default=[],
        type=_profiles,
        metavar="NAME[+NAME...]",
        help="additional options, in any combination; may be repeated",
    )
    build.add_argument(
        "--jobs",
        "-j",
        type=int,
        default=os.cpu_count() or 1,
        metavar="N",
        help="parallel jobs of make (default: %(default)s, one for each processor)",
    )
    actions.add_parser("list", epilog="exit status: 0", help="list the kernels that were built")
    source = actions.add_parser(
        "source",
        description="Fetches Debian's source of a kernel into the cache, unpacks it, and prints its directory: for "
        "svmcts census, and for KERNEL_SOURCE of the project's tests.",
        epilog=SOURCE_STATUS,
        help="fetch the source of a version",
    )
    source.add_argument("version", metavar="VERSION", help="7.3, 7.3.4")
    return parser


def _profiles(text: str) -> list[str]:
    names = text.split("+")
    if unknown := [name for name in names if name not in kconfig.PROFILES]:
        raise argparse.ArgumentTypeError(
            f"no profile {unknown[0]!r}{near_or_all(unknown[0], kconfig.PROFILES)}"
        )
    return names


def _build(options: argparse.Namespace) -> int:
    if (options.tree is None) is (options.debian is None):
        raise NoAnswerError("a tree or --debian VERSION is needed, and only one of them")
    if options.commit and (options.debian or Path(options.tree).is_file()):
        raise NoAnswerError("--commit belongs to a git tree")
    source = sources.find(options.tree, options.debian, options.commit)
    built = builds.make(source, [name for names in options.profile for name in names], options.jobs)
    print(built.name)
    return 0


def _source(options: argparse.Namespace) -> int:
    print(builds.unpack(sources.DebianSource.find(options.version)))
    return 0


def _list(_: argparse.Namespace) -> int:
    every = builds.every()
    width = max((len(built.name) for built in every), default=0)
    for built in every:
        print(
            f"{built.name:{width}}  {_size(built):4.0f} MB  {built.time[:16]}  {_minutes(built)}  {built.source}"
        )
    if not every:
        print("svmcts: none yet: svmcts kernel build --help", file=sys.stderr)
    return 0


def _size(built: Build) -> float:
    """Megabytes of the files for guests, without make's other output."""
    return sum(file.stat().st_size for file in built.directory.rglob("*") if file.is_file()) / 1e6


def _minutes(built: Build) -> str:
    return f"{built.seconds / 60:.0f} min"


ACTIONS = {"build": _build, "list": _list, "source": _source}
