# SPDX-License-Identifier: MIT
"""``svmcts sensitivity``: which seeded faults of the driver the tests notice."""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from common.answers import NO, NO_ANSWER, YES, NoAnswerError
from common.near import near
from common.place import ROOT, written
from guest import GuestError, builds, run
from guest.machine import Machine
from reports.ledger import Ledger
from reports.marks import proofs
from sensitivity import campaign, catalogue, generate
from sensitivity.breaks import Breaks
from sensitivity.build import Builder
from sensitivity.campaign import FOUND, MISSED, Campaign, GuestInside, Plan, Store
from sensitivity.catalogue import Fault

RESULTS = written() / "reports/out/sensitivity"
DECIDES = ("suites", "fixtures", "ioctl", "gpu", "guest", "sensitivity")
"""Code that decides a verdict; results are of one state of it."""
SHARES = (20, 50, 100)
DESCRIPTION = """\
Breaks the driver in a guest, one small edit at a time, and runs the tests of the broken behaviours until one fails. The
kernel is one built by svmcts kernel build. Results are kept for each suite, kernel and mode, so that a campaign can be
continued.
"""
STATUS = "exit status: 0 all found or excepted, 1 something was missed, 2 no answer"


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser("svmcts sensitivity", description=DESCRIPTION, epilog=STATUS)
    add = made.add_argument
    add("--list", action="store_true", help="list the faults and their known results, and run nothing")
    add("--generate", type=int, metavar="N", help="draw N faults from the generator, and record them")
    add(
        "--kernel",
        metavar="NAME",
        help="kernel built by svmcts kernel build (default: the newest without a profile)",
    )
    add(
        "--only",
        action="append",
        default=[],
        metavar="GLOB",
        help="only faults whose id matches; may be repeated",
    )
    add(
        "--file",
        action="append",
        default=[],
        metavar="NAME",
        help="only faults in this file, for example xe_svm.c; may be repeated",
    )
    add("--sample", type=int, metavar="N", help="a sample of N faults, spread evenly over files and kinds")
    add("--seed", type=int, default=1, help="seed of --sample, of --generate and of the tests (default: 1)")
    add(
        "--tests",
        type=int,
        default=100,
        metavar="N",
        help="run at most N tests for each fault (default: 100)",
    )
    add("--all", action="store_true", help="then run all other tests, too")
    add("--again", action="store_true", help="discard existing results")
    add("--minutes", type=float, default=1e6, help="start no new fault after this time")
    add("--adversary", metavar="MODE", help="how late the emulated GPU responds (docs/emulator.md)")
    return made


def main(arguments: list[str]) -> int:
    """Exit status: 0 all found or excepted, 1 something was missed, 2 no answer."""
    options = parser().parse_args(arguments)
    try:
        return _main(options)
    except GuestError as error:
        raise NoAnswerError(str(error)) from None


def _main(options: argparse.Namespace) -> int:
    build = kernel_of(options.kernel)
    builder = Builder(Path(build.out))
    if options.generate is not None:
        return _generate(builder, options.generate, options.seed)
    store = Store.open(_path(build.name, options.adversary))
    faults = _chosen(catalogue.load(), options)
    if options.list:
        for fault in faults:
            print(f"{store.verdict(fault.id) or '-':9} {fault.id}  {fault.title}")
        return YES
    todo = [
        fault for fault in faults if options.again or store.verdict(fault.id) in (None, campaign.NO_ANSWER)
    ]
    if todo:
        _run(todo, options, build.name, builder, store)
    print("\n".join(_summary(faults, store)))
    return _status(faults, store)


def kernel_of(name: str | None) -> builds.Build:
    found = [one for one in builds.every() if (one.name == name if name else not one.profiles)]
    if not found:
        raise NoAnswerError(
            f"no kernel {name or 'was built'}{near(name or '', [one.name for one in builds.every()])}: "
            "svmcts kernel build --debian 7.3, svmcts kernel list"
        )
    if not (Path(found[0].out) / "vmlinux").exists():
        raise NoAnswerError(f"{found[0].out} has gone: build {found[0].name} again")
    return found[0]


def _suite() -> str:
    """Hash of all that decides a verdict: tests, their helpers, guests, and the rules of a campaign."""
    hashed = hashlib.sha256()
    for path in sorted(path for folder in DECIDES for path in (ROOT / folder).rglob("*.py")):
        hashed.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return hashed.hexdigest()[:12]


def _path(kernel: str, mode: str | None) -> Path:
    return RESULTS / f"{_suite()}+{kernel}{f'+adversary-{mode}' if mode else ''}.jsonl"


def _chosen(faults: Sequence[Fault], options: argparse.Namespace) -> list[Fault]:
    chosen = [
        fault
        for fault in faults
        if (not options.only or any(fnmatch.fnmatchcase(fault.id, glob) for glob in options.only))
        and (not options.file or any(Path(edit.file).name in options.file for edit in fault.edits))
    ]
    if not chosen:
        hint = "".join(near(glob, [fault.id for fault in faults]) for glob in options.only[:1])
        raise NoAnswerError(f"no such fault{hint}: svmcts sensitivity --list")
    return campaign.sampled(chosen, options.sample, options.seed) if options.sample else chosen


def _generate(builder: Builder, count: int, seed: int) -> int:
    with tempfile.TemporaryDirectory() as work:
        chosen = generate.choose(
            [(file, builder.text(file)) for file in generate.FILES],
            count,
            seed,
            lambda mutant: builder.compiles(builder.edited([mutant.edit]), Path(work)),
        )
    catalogue.record(chosen)
    print(f"{len(chosen)} faults, in {catalogue.GENERATED.name}")
    return YES


def _run(
    todo: Sequence[Fault], options: argparse.Namespace, kernel: str, builder: Builder, store: Store
) -> None:
    environment = environment_of(kernel)
    tests, breaks = proofs(), Breaks(Ledger.load(), builder.text)

    def files(ranks: Mapping[str, int]) -> list[str]:
        if options.all:
            return ["suites"]
        near = sorted(ranks, key=ranks.__getitem__)
        ordered = dict.fromkeys(test for name in near for test in tests.get(name, ()))
        return sorted({test.partition(":")[0] for test in list(ordered)[: options.tests]})

    guest = ["--kernel", kernel, *(["--adversary", options.adversary] if options.adversary else [])]
    store.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.path.parent) as work:
        stock = stock_of(builder, Path(work) / "stock")
        plan = Plan(environment, 10**6 if options.all else options.tests, options.seed, files)
        lots = Campaign(
            plan,
            builder,
            lambda: GuestInside(guest, ROOT, store.path.with_suffix(".log")),
            store,
            stock,
            Path(work),
        )
        ranked = [(fault, breaks.ranks(fault)) for fault in todo]
        lots.run(ranked, lambda line: print(line, flush=True), time.monotonic() + options.minutes * 60)


def environment_of(kernel: str) -> dict[str, object]:
    """The environment of tests in a guest with one GPU, as data. Raises GuestError."""
    from fixtures.plugin.environment import Environment
    from fixtures.plugin.expectations import of_guest
    from fixtures.plugin.guests import MACHINE, SOFTWARE

    machine = Machine(1)
    prepared = run.prepare(kernel)
    expected = of_guest.expectation(machine, prepared.kernel.version, prepared.kernel.options)
    timeout_scale = SOFTWARE if prepared.software else 1.0
    return Environment(
        f"guest/{kernel}", "driver", "bmg", machine=MACHINE, timeout_scale=timeout_scale, expected=expected
    ).to_dict()


def stock_of(builder: Builder, out: Path) -> dict[str, Path]:
    """The modules without a fault, built as those with one."""
    out.mkdir()
    return builder.build({file: builder.text(file) for file in (generate.FILES[0], generate.FILES[-1])}, out)


def _summary(faults: Sequence[Fault], store: Store) -> list[str]:
    lines = []
    for what, key in (
        ("file", lambda fault: Path(fault.edits[0].file).name),
        ("kind", lambda fault: fault.kind),
    ):
        table: dict[str, Counter[str]] = {}
        for fault in faults:
            if verdict := store.verdict(fault.id):
                table.setdefault(key(fault), Counter())[verdict] += 1
        lines += [f"by {what}"]
        for name, counts in sorted(table.items()):
            lines.append(
                f"  {name:24} " + ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))
            )
    found = [store.results[fault.id] for fault in faults if store.verdict(fault.id) == FOUND]
    shares = ", ".join(f"{sum(one.after <= n for one in found)} by the first {n} tests" for n in SHARES)
    missed = [fault for fault in faults if store.verdict(fault.id) == MISSED]
    lines += ["missed"] if missed else []
    lines += [f"  {fault.id}" + (f": {fault.excepted}" if fault.excepted else "") for fault in missed]
    ran = [fault for fault in faults if store.verdict(fault.id) in (FOUND, MISSED)]
    return [*lines, f"found: {shares}", f"sensitivity: {len(found)} of {len(ran)}"]


def _status(faults: Sequence[Fault], store: Store) -> int:
    verdicts = [store.verdict(fault.id) for fault in faults if not fault.excepted]
    if MISSED in verdicts:
        return NO
    return YES if all(verdict == FOUND for verdict in verdicts) else NO_ANSWER
