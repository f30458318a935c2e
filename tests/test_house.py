# SPDX-License-Identifier: MIT
"""Rules of the house.

For suites/: test names that can be read and grepped for, and a folder for each area of the ledger. For the driver under
test: one seam to it. For all modules: no cycle of imports. For mock/driver: layers of rooms.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from common.kernels import DEFAULT_KERNEL
from fixtures.xe import flags
from reports.ledger import Ledger
from reports.marks import Mark, marks
from reports.stream import area_of

SUITES = Path(__file__).resolve().parent.parent / "suites"
LONGEST = 50
"""Maximum number of characters of a test's name."""
CROSSING = frozenset({"negative", "stateful"})
"""Folders that are for all areas."""
ARTICLE = re.compile(r"test_(a|an|the)_")
KNOW_THE_DRIVER = {
    "benchmarks/calls.py": "measures ioctls of xe",
    "benchmarks/memory.py": "measures the mock with a device of xe",
    "fixtures/__init__.py": "what most tests import: Vm, gpu_sees, user_fence",
    "fixtures/given.py": "the pytest fixtures: device, make_vm, queue, bo, counters",
    "fixtures/negative.py": "tables of wrong arguments call a Device",
    "fixtures/pci.py": "binds the device to its driver, by name",
    "fixtures/plugin/backend.py": "looks for nodes of the driver, by name",
    "fixtures/plugin/capabilities/__init__.py": "the driver's probes, and what reports say about a device",
    "fixtures/plugin/results.py": "the hash of the uAPI header, in each result stream",
}
"""Files that may import fixtures.xe or ioctl.xe, and for what: the list of what a second driver would have to change.

Not asked: suites, tests, fixtures/xe itself; and ioctl, mock and guest for ioctl.xe, which is theirs. Facts of xe that
need no import are in fixtures/kmsg.py (messages of a driver in trouble) and in fixtures/plugin/expectations.
"""
FOREIGN = {
    "object": "bo",
    "objects": "bos",
    "area": "vma, or mirror",
    "areas": "vmas, or mirrors",
    "advice": "madvise",
    "user_pointer": "userptr",
    "user_pointers": "userptrs",
    "unneeded": "dontneed",
}
"""Words for which the kernel has a name, and that name."""


def functions(suites: Path) -> Iterator[tuple[str, str]]:
    """File, below ``suites``, and name of each test."""
    for path in sorted(suites.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield str(path.relative_to(suites)), node.name


def misnamed(tests: Iterable[tuple[str, str]]) -> list[str]:
    """Problems with names of tests, one line each with what to do."""
    lines = []
    for (file, name), times in Counter(tests).items():
        if len(name) > LONGEST:
            lines.append(f"{file}: {name} has {len(name)} characters: at most {LONGEST}")
        if ARTICLE.match(name):
            lines.append(f"{file}: {name}: leave out the article")
        for word, better in FOREIGN.items():
            if f"_{word}_" in f"{name}_":
                lines.append(f"{file}: {name}: for {word} write {better}")
        if times > 1:
            lines.append(f"{file}: {name} is there {times} times: only the last one runs")
    return lines


def misplaced(found: Iterable[Mark], ledger: Ledger) -> list[str]:
    """Files in a folder that is not their area's, one line each with what to do."""
    areas = set(ledger.vocabulary.areas)
    subjects: dict[str, dict[str, set[str]]] = {}
    for mark in found:
        file, _, test = mark.test.partition("::")
        if test and mark.identifier in ledger:
            subjects.setdefault(file, {}).setdefault(test, set()).add(ledger[mark.identifier].area)
    lines = []
    for file, tests in sorted(subjects.items()):
        area = area_of(file)
        if area in CROSSING:
            continue
        about = Counter(area for areas_of_test in tests.values() for area in areas_of_test)
        if area not in areas:
            lines.append(f"{file}: no area is called {area}: the folder is called as the area, with _ for -")
        elif about[area] * 2 < len(tests):
            folder = about.most_common(1)[0][0].replace("-", "_")
            lines.append(
                f"{file}: {about[area]} of {len(tests)} tests are about {area}: move it to {folder}/"
            )
    return lines


def test_readme_fits_on_200_lines() -> None:
    assert len((SUITES.parent / "README.md").read_text(encoding="utf-8").splitlines()) <= 200


def test_names_of_tests_are_short_and_in_kernel_nouns() -> None:
    tests = list(functions(SUITES))
    assert len(tests) > 600
    assert not misnamed(tests)


def test_folder_of_each_test_is_its_area() -> None:
    found = marks(SUITES)
    assert len({mark.test for mark in found}) > 500
    assert not misplaced(found, Ledger.load())


SIZE = r"_?(CHUNK|UNIT|BLOCK|PIECE|K64|M1|M2|MIB|MEBIBYTE|SZ_\w+)\b.* = "
FLAG = rf"({'|'.join(name for name in vars(flags) if name.isupper())})\b.* = xe\."


def definitions(pattern: str) -> list[str]:
    """Lines of suites/ and fixtures/ that match ``pattern`` at their beginning, except for the two files with shared
    definitions.
    """
    defining = [SUITES.parent / "fixtures" / name for name in ("sizes.py", "xe/flags.py")]
    return [
        f"{path.relative_to(SUITES.parent)}: {line}"
        for folder in (SUITES, SUITES.parent / "fixtures")
        for path in sorted(folder.rglob("*.py"))
        if path not in defining
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.match(pattern, line)
    ]


def test_sizes_have_one_definition() -> None:
    own = definitions(SIZE)
    assert not own, "take sizes, as SZ_64K, from fixtures.sizes"


def test_flags_have_one_definition() -> None:
    own = definitions(FLAG)
    assert not own, "take it from fixtures.xe.flags"


@pytest.mark.parametrize(
    ("pattern", "line", "expected"),
    [
        (SIZE, "CHUNK = 1 << 21", True),
        (SIZE, "_SZ_2M: Final = 2 << 20", True),
        (SIZE, "BLOCKS = 4", False),
        (FLAG, "MIRROR = xe.DRM_XE_VM_BIND_FLAG_CPU_ADDR_MIRROR", True),
        (FLAG, 'MIRROR = pytest.param("mirror")', False),
    ],
)
def test_second_definition_of_size_or_flag_is_found(pattern: str, line: str, expected: bool) -> None:
    assert bool(re.match(pattern, line)) is expected


VERSIONS = {
    "common/kernels.py": "DEFAULT_KERNEL",
    "ioctl/xe.py": "LINUX, the version of the uAPI in it",
    "reports/sources.py": "AS_OF, the version that the ledger was checked against",
}
"""Files that may spell the version that is also that of the default kernel, and for what."""


def spelt(source: str, text: str) -> bool:
    """Whether a file has a string of just this text, other than as an argument by name (``first="7.3"``)."""
    tree = ast.parse(source)
    named = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.keyword)}
    return any(
        isinstance(node, ast.Constant) and node.value == text and id(node) not in named
        for node in ast.walk(tree)
    )


def test_default_kernel_has_one_definition() -> None:
    root = SUITES.parent
    found = {
        str(path.relative_to(root))
        for folder in ("benchmarks", "common", "fixtures", "gpu", "guest", "ioctl", "mock", "reports")
        for path in (root / folder).rglob("*.py")
        if spelt(path.read_text(encoding="utf-8"), DEFAULT_KERNEL)
    }
    assert found == VERSIONS.keys()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('DEFAULT = "7.3"', True),
        ('def boot(kernel: str = "7.3"): ...', True),
        ('known("a finding", first="7.3")', False),
        ('"""From text such as "7.3"."""', False),
    ],
)
def test_spelt_version_is_found(source: str, expected: bool) -> None:
    assert spelt(source, "7.3") is expected


def imported(source: str) -> set[str]:
    """Modules that a file imports, and names that it takes from them, dotted."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def knows_the_driver(file: str, source: str) -> bool:
    """Whether a file outside of fixtures/xe imports it. The uAPI's own users are ioctl, the mock and the emulator."""
    modules = (
        ("fixtures.xe",) if file.startswith(("ioctl/", "mock/", "guest/")) else ("fixtures.xe", "ioctl.xe")
    )
    return any(f"{name}.".startswith(f"{module}.") for name in imported(source) for module in modules)


def test_seam_to_the_driver_is_where_the_list_says() -> None:
    root = SUITES.parent
    files = [
        str(path.relative_to(root))
        for folder in ("benchmarks", "common", "fixtures", "gpu", "guest", "ioctl", "mock", "reports")
        for path in (root / folder).rglob("*.py")
        if "xe" not in path.relative_to(root).parts
    ]
    assert len(files) > 250
    found = {file for file in files if knows_the_driver(file, (root / file).read_text(encoding="utf-8"))}
    assert found == KNOW_THE_DRIVER.keys()


@pytest.mark.parametrize(
    ("file", "source", "expected"),
    [
        ("fixtures/a.py", "import fixtures.xe.vm", True),
        ("fixtures/a.py", "from fixtures.xe.vm import Vm", True),
        ("fixtures/a.py", "def f():\n    from fixtures import xe", True),
        ("fixtures/a.py", "from ioctl import drm, xe", True),
        ("fixtures/a.py", "from fixtures import xenon, memory\nimport ioctl", False),
        ("mock/a.py", "from ioctl import xe", False),
        ("mock/a.py", "import fixtures.xe", True),
    ],
)
def test_import_of_the_driver_is_found(file: str, source: str, expected: bool) -> None:
    assert knows_the_driver(file, source) is expected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("test_" + "x" * 46, "a.py: test_" + "x" * 46 + " has 51 characters: at most 50"),
        ("test_a_bo_moves", "a.py: test_a_bo_moves: leave out the article"),
        ("test_the_bo_moves", "a.py: test_the_bo_moves: leave out the article"),
        ("test_map_of_object", "a.py: test_map_of_object: for object write bo"),
        ("test_user_pointer_moves", "a.py: test_user_pointer_moves: for user_pointer write userptr"),
    ],
)
def test_bad_name_is_found(name: str, said: str) -> None:
    assert misnamed([("a.py", name)]) == [said]


def test_second_definition_of_a_name_is_found() -> None:
    assert misnamed([("a.py", "test_x"), ("b.py", "test_x"), ("a.py", "test_x")]) == [
        "a.py: test_x is there 2 times: only the last one runs"
    ]


@pytest.mark.parametrize(
    ("file", "behaviours", "said"),
    [
        ("suites/bind/test_a.py", ("bind.cam.obj-mbz",), None),
        ("suites/cpu_fault/test_a.py", ("cpu-fault.write",), None),
        ("suites/stateful/test_a.py", ("bind.cam.obj-mbz",), None),
        ("suites/bind/test_a.py", ("bind.cam.obj-mbz", "cpu-fault.write"), None),
        ("suites/race/test_a.py", ("bind.cam.obj-mbz",), "no area is called race"),
        (
            "suites/bind/test_a.py",
            ("cpu-fault.write",),
            "0 of 1 tests are about bind: move it to cpu_fault/",
        ),
    ],
)
def test_wrong_folder_is_found(file: str, behaviours: tuple[str, ...], said: str | None) -> None:
    found = [
        Mark(identifier, f"{file}:1", f"{file}::test_{number}")
        for number, identifier in enumerate(behaviours)
    ]
    problems = misplaced(found, Ledger.load())
    assert (len(problems) == 1 and said in problems[0]) if said else not problems


CODE = (
    "benchmarks",
    "common",
    "fixtures",
    "gpu",
    "guest",
    "installed",
    "ioctl",
    "mock",
    "reports",
    "reproduce",
)
CODE += ("sensitivity", "suites", "tests")
"""Folders of Python."""


def import_cycle(root: Path) -> list[str]:
    """Modules below ``root`` that import each other when they run, also inside of functions; empty if none do."""
    paths = {path for folder in CODE for path in (root / folder).rglob("*.py")}
    modules = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path
        for path in paths
    }
    graph = {
        module: at_run_time(path.read_text(encoding="utf-8"), modules.keys()) - {module}
        for module, path in modules.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def at_run_time(source: str, modules: Collection[str]) -> set[str]:
    """The ``modules`` that a file may import when it runs: not what only type checkers see.

    A name that is taken from a package counts as import of the package only if it is not a module in it.
    """

    class Typing(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
            return node.orelse if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    found = set()
    for node in ast.walk(Typing().visit(ast.parse(source))):
        package, *names = _imported(node) or [""]
        if isinstance(node, ast.ImportFrom) and all(name in modules for name in names):
            found |= {*names}
        else:
            found |= {package, *names}
    return found & {*modules}


def test_modules_do_not_import_each_other() -> None:
    assert not import_cycle(SUITES.parent)


@pytest.mark.parametrize(
    ("text", "cycle"),
    [
        ("from common.b import B", True),
        ("from common import b", True),
        ("import common.b", True),
        ("def late():\n    from common import b", True),
        ("if TYPE_CHECKING:\n    from common import b", False),
        ("from common import c", False),
    ],
)
def test_import_cycle_is_found(tmp_path: Path, text: str, cycle: bool) -> None:
    (tmp_path / "common").mkdir()
    for name, source in {"a": text, "b": "from common import a", "c": ""}.items():
        (tmp_path / "common" / f"{name}.py").write_text(source, encoding="utf-8")
    assert set(import_cycle(tmp_path)) == ({"common.a", "common.b"} if cycle else set())


DRIVER = SUITES.parent / "mock" / "driver"
FLOORS = (
    ("lib",),
    ("level", "kconfig", "platform", "stats", "arguments"),
    ("ttm",),
    ("pagemap",),
    ("device",),
    ("vm",),
    ("svm",),
    ("exec",),
    ("file",),
    ("uapi",),
    ("debugfs", "driver"),
)
"""Rooms and modules of the mock's driver, from the ground up: each may know its own floor and those below."""
OWNED = {("vm.vm", "svm.svm")}
"""Arrows that run up because the kernel's objects hold each other: a VM owns its SVM."""

Arrow = tuple[str, str]


def arrows(root: Path) -> set[Arrow]:
    """Imports between modules below ``root``, a package at the top of its tree, including those for types alone."""
    package = f"{root.parent.name}.{root.name}"
    modules = {
        ".".join(path.relative_to(root).with_suffix("").parts)
        for path in root.rglob("*.py")
        if path.name != "__init__.py"
    }
    found = set()
    for module in modules:
        path = root.joinpath(*module.split(".")).with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            for name in _imported(node):
                target = name.removeprefix(f"{package}.")
                if name != target and target in modules and target != module:
                    found.add((module, target))
    return found


def _imported(node: ast.AST) -> list[str]:
    """The modules that a statement may import."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.module:
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def floor(module: str) -> int:
    """The floor of a module: that of its room."""
    room, _, _ = module.partition(".")
    floors = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert floors, f"{room} is on no floor of mock/driver: say in FLOORS what it stands on"
    return floors[0]


def runs_up(found: Iterable[Arrow]) -> list[str]:
    """Arrows that are not allowed, one line each."""
    return [
        f"{module} knows {other}, which is above it"
        for module, other in sorted(found)
        if floor(other) > floor(module) and (module, other) not in OWNED
    ]


def circle(found: Iterable[Arrow]) -> set[str]:
    """Modules that know each other, directly or by way of others, and those between two circles."""
    left = set(found)
    while True:
        ends = {one for one, _ in left} & {other for _, other in left}
        inner = {(one, other) for one, other in left if one in ends and other in ends}
        if inner == left:
            return ends
        left = inner


def test_rooms_of_the_driver_know_what_is_below_them() -> None:
    found = arrows(DRIVER)
    assert len(found) > 250
    assert {module for arrow in found for module in arrow} > {"vm.vm", "lib.fence", "uapi.table"}
    assert not runs_up(found)
    assert found >= OWNED, "an exception that is not needed any more"


def test_only_a_vm_and_what_it_owns_know_each_other() -> None:
    inside = circle(arrows(DRIVER))
    assert {module.partition(".")[0] for module in inside} <= {"vm", "svm"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("from mock.driver.lib.fence import Fence", None),
        ("from mock.driver.ttm import storage", None),
        ("from mock.driver.device import Device", "ttm.bo knows device, which is above it"),
        ("import mock.driver.vm.vma", "ttm.bo knows vm.vma, which is above it"),
        ("from mock.driver.vm import vma", "ttm.bo knows vm.vma, which is above it"),
        (
            "if TYPE_CHECKING:\n    from mock.driver.vm.vma import Vma",
            "ttm.bo knows vm.vma, which is above it",
        ),
        (
            "def late():\n    from mock.driver.vm.vma import Vma",
            "ttm.bo knows vm.vma, which is above it",
        ),
    ],
)
def test_arrow_that_runs_up_is_found(tmp_path: Path, text: str, said: str | None) -> None:
    root = tmp_path / "mock" / "driver"
    for name in ("ttm/bo", "ttm/storage", "lib/fence", "vm/vma", "device"):
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if name == "ttm/bo" else "", encoding="utf-8")
    found = arrows(root)
    assert len(found) == 1
    assert runs_up(found) == ([said] if said else [])


def test_new_room_must_have_a_floor() -> None:
    with pytest.raises(AssertionError, match="cellar is on no floor"):
        runs_up({("vm.vm", "cellar.pump")})


@pytest.mark.parametrize(
    ("found", "inside"),
    [
        ({("a", "b"), ("b", "c"), ("a", "c")}, set()),
        ({("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")}, {"b", "c"}),
        ({("a", "b"), ("b", "c"), ("c", "a")}, {"a", "b", "c"}),
    ],
)
def test_modules_that_know_each_other_are_found(found: set[Arrow], inside: set[str]) -> None:
    assert circle(found) == inside
