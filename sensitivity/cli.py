# SPDX-License-Identifier: MIT
"""``svmcts sensitivity``: which seeded faults of the driver the tests notice."""

from __future__ import annotations

import argparse
import fnmatch
import hashlib
import re
import shlex
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from common import version
from common.answers import NO, NO_ANSWER, YES, NoAnswerError
from common.near import near
from common.place import ROOT, written
from guest import GuestError, builds, run
from guest.emulator.adversary import MODES, STRONG
from guest.machine import Machine, Topology
from guest.options import add_topology
from reports import seeded
from reports.ledger import Ledger
from reports.marks import proofs
from sensitivity import campaign, catalogue, generate
from sensitivity.breaks import Breaks, files_of
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
CLEARS = "init_on_alloc=1"
"""Debian's kernels clear what they allocate, those built here do not: there a finding ("VM_BIND executes operations
that were left in freed memory") takes some guests along, whatever the fault.
"""


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser("svmcts sensitivity", description=DESCRIPTION, epilog=STATUS)
    add = made.add_argument
    add("--list", action="store_true", help="list the faults and their known results, and run nothing")
    add("--generate", type=int, metavar="N", help="draw N faults from the generator, and record them")
    add(
        "--kernel",
        metavar="NAME",
        help="kernel built by svmcts kernel build (default: the newest without a profile and without changes)",
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
    add("--gpus", type=int, choices=(1, 2), default=1, help="emulated GPUs of the guest (default: 1)")
    add_topology(made)
    add(
        "--adversary",
        choices=tuple(MODES),
        help=f"how late the emulated GPUs respond (docs/emulator.md; default: {STRONG} for faults that only a late "
        "device shows, the guest's own mode for the others)",
    )
    add(
        "--iommu",
        action="store_true",
        help="guests with an IOMMU, which some faults need (docs/emulator.md); the kernel needs the profile iommu",
    )
    add(
        "--emulator",
        default="",
        metavar="OPTIONS",
        help="options of the emulated GPUs, as in --emulator=--media: some faults need a media GT",
    )
    add(
        "--record",
        action="store_true",
        help="add the results to sensitivity/results.tsv, of which reports tell",
    )
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
    machine = Machine(
        options.gpus, options.topology, emulator=shlex.split(options.emulator), iommu=options.iommu
    )
    stores = Stores(build.name, machine, options.adversary)
    faults = _chosen(catalogue.load(), options)
    if options.list:
        for fault in faults:
            print(f"{stores.verdict(fault) or '-':9} {fault.id}  {fault.title}")
        return YES
    end = time.monotonic() + options.minutes * 60
    todo = [
        fault
        for fault in faults
        if (options.again or stores.verdict(fault) in (None, campaign.NO_ANSWER))
        and (options.only or (not fault.excepted and stores.matters(fault)))
    ]
    for takes, option in catalogue.TAKES.items():
        elsewhere = [fault for fault in faults if fault.takes == takes and not stores.matters(fault)]
        if elsewhere and not options.only:
            print(f"{len(elsewhere)} faults need {option}")
    for mode in dict.fromkeys(map(stores.mode, todo)):
        some = [fault for fault in todo if stores.mode(fault) == mode]
        if time.monotonic() > end:
            print(f"out of time: {len(some)} faults are left")
            continue
        _run(some, options, mode, build.name, machine, builder, stores.of(some[0]), end)
    if options.record:
        _record(faults, stores)
    print("\n".join(_summary(faults, stores)))
    return _status(faults, stores)


class Stores:
    """Results of each mode of the device: a late device shows what another does not."""

    def __init__(self, kernel: str, machine: Machine, mode: str | None = None) -> None:
        self.kernel, self._machine, self._mode = kernel, machine, mode
        self._open: dict[str | None, Store] = {}

    def mode(self, fault: Fault) -> str | None:
        """The mode of ``--adversary`` that a fault is tried in."""
        return self._mode or (STRONG if fault.shown_by == "late" else None)

    def matters(self, fault: Fault) -> bool:
        """Whether a fault matters on this machine and kernel."""
        profiles = re.split(r"[-+]", self.kernel)
        here = {
            None: True,
            "media": "--media" in self._machine.emulator,
            "occupied": "--occupied" in self._machine.emulator,
            "ptl": "ptl" in self._machine.emulator,
            "two-gpus": self._machine.gpus > 1,
            "far-gpus": _apart(self._machine),
            "faults": "faults" in profiles,
            "lockdep": "lockdep" in profiles,
        }
        return here[fault.takes]

    def of(self, fault: Fault) -> Store:
        """The results of a fault's mode."""
        mode = self.mode(fault)
        if mode not in self._open:
            self._open[mode] = Store.open(_path(self.kernel, self._machine, mode))
        return self._open[mode]

    def verdict(self, fault: Fault) -> str | None:
        """Verdict on a fault."""
        return self.of(fault).verdict(fault.id)

    def machine(self, fault: Fault) -> str:
        """The machine that a fault is tried on, as recorded results name it."""
        mode = self.mode(fault)
        parts = [
            f"{self._machine.gpus} {'far ' * _apart(self._machine)}GPU{'s' * (self._machine.gpus > 1)}",
            f"{mode} adversary" if mode else "",
            "an IOMMU" if self._machine.iommu else "",
            shlex.join(self._machine.emulator),
        ]
        return ", ".join(filter(None, parts))


def kernel_of(name: str | None) -> builds.Build:
    if name:
        found = builds.find(name)
    else:
        found = next((one for one in builds.every() if not one.profiles and not one.changed), None)
    if found is None:
        raise NoAnswerError(
            f"no kernel {name or 'was built'}{near(name or '', [one.name for one in builds.every()])}: "
            "svmcts kernel build --debian 7.3, svmcts kernel list"
        )
    if not found.current:
        raise NoAnswerError(
            f"{found.out} has gone, or has another kernel since: remove {found.directory}, "
            f"and build {found.name} again"
        )
    return found


def _suite() -> str:
    """Hash of all that decides a verdict: tests, their helpers, guests, and the rules of a campaign."""
    hashed = hashlib.sha256()
    for path in sorted(path for folder in DECIDES for path in (ROOT / folder).rglob("*.py")):
        hashed.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return hashed.hexdigest()[:12]


def _apart(machine: Machine) -> bool:
    """Whether it has GPUs that do not reach each other's memory."""
    return machine.gpus > 1 and machine.topology is Topology.FAR


def _path(kernel: str, machine: Machine, mode: str | None) -> Path:
    parts = [_suite(), kernel]
    parts += [f"gpus-{machine.gpus}"] if machine.gpus > 1 else []
    parts += ["far"] if _apart(machine) else []
    parts += [f"adversary-{mode}"] if mode else []
    parts += ["iommu"] if machine.iommu else []
    parts += [re.sub(r"\W+", "-", shlex.join(machine.emulator)).strip("-")] if machine.emulator else []
    return RESULTS / f"{'+'.join(parts)}.jsonl"


def _record(faults: Sequence[Fault], stores: Stores) -> None:
    """Write the verdicts into the file that is kept with the suite."""
    rows = [
        seeded.Row(
            fault.id,
            stores.machine(fault),
            verdict,
            stores.of(fault).results[fault.id].by,
            stores.of(fault).results[fault.id].after,
            stores.kernel,
            version.commit(ROOT)[0],
        )
        for fault in faults
        if (verdict := stores.verdict(fault)) in (FOUND, MISSED) and not fault.excepted
    ]
    seeded.write(rows)
    print(f"{len(rows)} results recorded in {seeded.RECORDED.name}")


def _chosen(faults: Sequence[Fault], options: argparse.Namespace) -> list[Fault]:
    chosen = [
        fault
        for fault in faults
        if (not options.only or any(fnmatch.fnmatchcase(fault.id, glob) for glob in options.only))
        and (fault.shown_by != "iommu" or options.iommu or options.only)
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
    todo: Sequence[Fault],
    options: argparse.Namespace,
    mode: str | None,
    kernel: str,
    machine: Machine,
    builder: Builder,
    store: Store,
    end: float,
) -> None:
    environment = environment_of(kernel, machine)
    tests, breaks = proofs(), Breaks(Ledger.load(), builder.text)

    def files(ranks: Mapping[str, int]) -> list[str]:
        return ["suites"] if options.all else files_of(ranks, tests, options.tests)

    guest = ["--kernel", kernel, "--gpus", str(machine.gpus), "--append", CLEARS]
    guest += ["--topology", machine.topology]
    guest += ["--adversary", mode] if mode else []
    guest += ["--iommu"] if machine.iommu else []
    if machine.emulator:
        guest.append(f"--emulator={shlex.join(machine.emulator)}")  # one word: options begin with dashes
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
        lots.run(ranked, lambda line: print(line, flush=True), end)


def environment_of(kernel: str, machine: Machine) -> dict[str, object]:
    """The environment of tests in a guest, as data. Raises GuestError."""
    from fixtures.plugin.environment import Environment
    from fixtures.plugin.expectations import of_guest
    from fixtures.plugin.guests import MACHINE, SOFTWARE
    from guest.emulator.__main__ import model_of

    prepared = run.prepare(kernel)
    options = {**prepared.kernel.options, "INIT_ON_ALLOC_DEFAULT_ON": "y"}  # what CLEARS makes of it
    expected = of_guest.expectation(machine, prepared.kernel.version, options)
    timeout_scale = SOFTWARE if prepared.software else 1.0
    return Environment(
        f"guest/{kernel}",
        "driver",
        model_of(machine.emulator),
        machine=MACHINE,
        timeout_scale=timeout_scale,
        expected=expected,
    ).to_dict()


def stock_of(builder: Builder, out: Path) -> dict[str, Path]:
    """The modules without a fault, built as those with one."""
    out.mkdir()
    return builder.build({file: builder.text(file) for file in (generate.FILES[0], generate.FILES[-1])}, out)


def _summary(faults: Sequence[Fault], stores: Stores) -> list[str]:
    lines = []
    for what, key in (
        ("file", lambda fault: Path(fault.edits[0].file).name),
        ("kind", lambda fault: fault.kind),
    ):
        table: dict[str, Counter[str]] = {}
        for fault in faults:
            if verdict := stores.verdict(fault):
                table.setdefault(key(fault), Counter())[verdict] += 1
        lines += [f"by {what}"]
        for name, counts in sorted(table.items()):
            lines.append(
                f"  {name:24} " + ", ".join(f"{n} {verdict}" for verdict, n in sorted(counts.items()))
            )
    found = [stores.of(fault).results[fault.id] for fault in faults if stores.verdict(fault) == FOUND]
    shares = ", ".join(f"{sum(one.after <= n for one in found)} by the first {n} tests" for n in SHARES)
    missed = [fault for fault in faults if stores.verdict(fault) == MISSED]
    lines += ["missed"] if missed else []
    lines += [f"  {fault.id}" + (f": {fault.excepted}" if fault.excepted else "") for fault in missed]
    owed = [fault for fault in missed if not fault.excepted]
    return [*lines, f"found: {shares}", f"sensitivity: {len(found)} of {len(found) + len(owed)}"]


def _status(faults: Sequence[Fault], stores: Stores) -> int:
    verdicts = [stores.verdict(fault) for fault in faults if not fault.excepted]
    if MISSED in verdicts:
        return NO
    return YES if all(verdict == FOUND for verdict in verdicts) else NO_ANSWER
