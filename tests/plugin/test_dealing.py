# SPDX-License-Identifier: MIT
"""The order in which workers get tests."""

from __future__ import annotations

from collections import defaultdict

import pytest

from fixtures.plugin import dealing
from reports.event import Outcome, Result
from tests import durations

NAMES = ("empties", "short", "resets", "long", "longer", "other")
MARKS = {"empties": '@disturbs("VRAM is full")\n', "resets": '@needs("swap")\n@disturbs("swap is full")\n'}
SUITE = "import os\nfrom pathlib import Path\nfrom fixtures import disturbs\n" + "".join(
    f'{MARKS.get(name, "")}@behaviour("demo.works")\n@acts("ioctl")\ndef test_{name}():\n    count("ioctl")\n'
    f'    with Path("order").open("a") as file:\n        file.write(f"{{os.getpid()}} {name}\\n")\n'
    for name in NAMES
)


@pytest.fixture
def suite(project):
    """Six tests, of which two disturb the others and three are known to take long."""
    project.suite(SUITE.replace('@needs("swap")\n', ""))
    seconds = {"long": 1.5, "longer": 20.0, "resets": 30.0}
    results = [
        Result(
            "guest/7.3.4",
            f"suites/demo/test_demo.py::test_{name}",
            Outcome.PASS,
            duration=seconds.get(name, 0.1),
        )
        for name in NAMES
    ]
    (project.path / "suites" / dealing.DURATIONS).write_text(durations.text(results))
    return project


def ran(project):
    """Names of tests in the order in which they ran, for each process."""
    found = defaultdict(list)
    for line in (project.path / "order").read_text().splitlines():
        process, name = line.split()
        found[process].append(name)
    return sorted(found.values())


def test_only_long_tests_are_recorded(suite):
    assert (suite.path / "suites" / dealing.DURATIONS).read_text().splitlines() == [
        "demo/test_demo.py::test_resets\t30.0",
        "demo/test_demo.py::test_longer\t20.0",
        "demo/test_demo.py::test_long\t1.5",
    ]


def test_workers_get_long_tests_first_and_those_that_disturb_last(suite):
    """Each of two workers starts with two tests: the first with those that take longest."""
    suite.run("-n", "2").assert_outcomes(passed=6)
    processes = ran(suite)
    assert sorted(name for process in processes for name in process) == sorted(NAMES)
    (first,) = [process for process in processes if "longer" in process]
    assert first[:2] == ["longer", "long"]
    for process in processes:
        disturbing = [name in MARKS for name in process]
        assert disturbing == sorted(disturbing)


def test_one_worker_keeps_the_order_of_files_but_for_those_that_disturb(suite):
    suite.run("-n", "1").assert_outcomes(passed=6)
    assert ran(suite) == [["short", "long", "longer", "other", "empties", "resets"]]


def test_tests_of_a_lost_worker_keep_their_place(project):
    """The worker of the first test dies with others in its hands, and a new one runs these before the rest."""
    test = (
        '@behaviour("demo.works")\n@acts("ioctl")\ndef test_NAME():\n    count("ioctl")\n'
        '    with Path("order").open("a") as file:\n        file.write(f"{os.getpid()} NAME\\n")\n'
    )
    names = [f"{number:02}" for number in range(24)]
    first, *others = (test.replace("NAME", name) for name in names)
    project.suite("".join(["import os\nfrom pathlib import Path\n", first, "    os._exit(1)\n", *others]))
    project.run("-n", "1")
    assert sorted(ran(project), key=len) == [names[:1], names[1:]]


def test_random_order_is_what_its_seed_says(suite):
    """A replay has the same order, and other seeds have others."""
    orders = []
    for seed in ("1", "1", "2"):
        suite.run("--random-order-bucket=global", f"--random-order-seed={seed}").assert_outcomes(passed=6)
        orders.append(ran(suite)[0])
        (suite.path / "order").unlink()
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_needs_that_take_the_machine_from_others_disturb(project):
    project.suite(SUITE.replace('@disturbs("swap is full")\n', "").replace('@disturbs("VRAM is full")\n', ""))
    project.run("--platform", "described")
    ended = [event["test"].partition("::test_")[2] for event in project.events("result")]
    assert ended[-1] == "resets"


def test_recorded_durations_are_of_tests_that_exist(request):
    """A test that was renamed or removed would stay in the file unnoticed."""
    suites = request.config.rootpath / "suites"
    known = dealing.durations(suites)
    assert known
    for test in known:
        file, _, name = test.partition("::")
        source = (request.config.rootpath / file).read_text()
        assert f"def {name.partition('[')[0]}(" in source, test
