# SPDX-License-Identifier: MIT
"""Modules with a fault, from a build tree of two files and two modules that a compiler and a linker take."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from common.answers import NoAnswerError
from sensitivity.build import Builder, BuildError
from sensitivity.source import Edit, EditError

pytestmark = pytest.mark.skipif(not shutil.which("cc"), reason="needs a C compiler")
HELPER, DRIVER, MORE = "gpu/helper.c", "gpu/xe/driver.c", "gpu/xe/more.c"
SOURCES = {
    HELPER: 'const char *helper(void)\n{\n\treturn "the helper";\n}\n',
    DRIVER: '#include "own.h"\nconst char *driver(void)\n{\n\treturn OWN "the driver";\n}\n',
    MORE: 'const char *more(void)\n{\n\treturn "no more";\n}\n',
    "gpu/xe/own.h": '#define OWN "own, "\n',
}
MODULES = {"gpu/helper_module": [HELPER], "gpu/xe/xe": [DRIVER, MORE]}


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """As Kbuild leaves it: objects are made from absolute paths, modules from lists of objects."""
    source, tree = tmp_path / "source", tmp_path / "objects"
    for file, text in SOURCES.items():
        put(source / file, text)
    for module, files in MODULES.items():
        objects = [f"{Path(file).with_suffix('.o')}" for file in files]
        put(tree / f"{module}.mod", "\n".join(objects) + "\n")
        folder, name = Path(module).parent, Path(module).name
        command(tree, folder / f"{name}.o", f"ld -r -o {module}.o @{module}.mod")
        command(tree, folder / f"{name}.ko", f"ld -r -o {module}.ko {module}.o {folder}/empty.o ")
        command(tree, folder / "empty.o", "")
        (tree / folder / "empty.c").write_text("int unused;\n")
        Builder(tree)._run(f"cc -c -o {folder}/empty.o {folder}/empty.c")
    for file in (HELPER, DRIVER, MORE):
        made = Path(file).with_suffix(".o")
        depends = f"{made.parent}/.{made.name}.d"
        command(tree, made, f"cc -Wp,-MMD,{depends} -O2 -c -o {made} {source / file}")
        Builder(tree)._run(Builder(tree)._command(made))
    (tree / "source").symlink_to(source)
    return tree


def command(tree: Path, made: Path, text: str) -> None:
    put(tree / made.parent / f".{made.name}.cmd", f"savedcmd_{made} := {text}\n\nsource_{made} := x\n")


def state(tree: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in tree.resolve().parent.rglob("*") if path.is_file()}


def edit(file: str, function: str, find: str, new: str) -> Edit:
    return Edit(file, function, find, new)


def test_only_the_module_of_the_edited_file_is_made(tree: Path, tmp_path: Path) -> None:
    builder, out = Builder(tree), tmp_path / "out"
    out.mkdir()
    before = state(tree)
    built = builder.build(builder.edited([edit(DRIVER, "driver", "the driver", "a fault")]), out)
    assert built == {"xe": out / "xe.ko"}
    module = built["xe"].read_bytes()
    assert b"own, a fault" in module  # with the header next to the file
    assert b"no more" in module
    assert b"the driver" not in module
    assert {path: data for path, data in state(tree).items() if not path.startswith(str(out))} == before


def test_edits_of_two_modules_make_both(tree: Path, tmp_path: Path) -> None:
    builder = Builder(tree)
    edits = [edit(HELPER, "helper", "the helper", "one fault"), edit(MORE, "more", "no more", "two faults")]
    built = builder.build(builder.edited(edits), tmp_path)
    assert sorted(built) == ["helper_module", "xe"]
    assert b"one fault" in built["helper_module"].read_bytes()
    assert b"two faults" in built["xe"].read_bytes()
    assert b"the driver" in built["xe"].read_bytes()


def test_second_edit_of_a_file_is_made_on_the_first(tree: Path) -> None:
    edits = [edit(MORE, "more", "no more", "a"), edit(MORE, "more", "return", "/* b */ return")]
    assert Builder(tree).edited(edits) == {MORE: 'const char *more(void)\n{\n\t/* b */ return "a";\n}\n'}


def test_edit_that_does_not_fit_is_refused(tree: Path) -> None:
    with pytest.raises(EditError, match="more has 0 times"):
        Builder(tree).edited([edit(MORE, "more", "less", "a")])


def test_file_that_does_not_compile_has_the_compilers_error(tree: Path, tmp_path: Path) -> None:
    builder = Builder(tree)
    wrong = builder.edited([edit(MORE, "more", "return", "return what")])
    assert not builder.compiles(wrong, tmp_path)
    with pytest.raises(BuildError, match="what"):
        builder.build(wrong, tmp_path)
    assert builder.compiles(builder.edited([edit(MORE, "more", "no more", "a")]), tmp_path)


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        ("gpu/xe/.driver.o.cmd", "no command of gpu/xe/driver.o"),
        ("gpu/xe/xe.mod", "gpu/xe/driver.c: part of no module"),
        ("source/gpu/xe/driver.c", "driver.c: No such file"),
    ],
)
def test_tree_that_lacks_something_is_no_answer(tree: Path, tmp_path: Path, lost: str, why: str) -> None:
    (tree / lost).unlink()
    builder = Builder(tree)
    with pytest.raises(NoAnswerError, match=why):
        builder.build(builder.edited([edit(DRIVER, "driver", "the driver", "a")]), tmp_path)


def test_command_of_another_kbuild_is_no_answer(tree: Path, tmp_path: Path) -> None:
    command(tree, Path("gpu/xe/driver.o"), "cc -c elsewhere.c")
    builder = Builder(tree)
    with pytest.raises(NoAnswerError, match=r"the command of gpu/xe/driver\.o has no -MMD"):
        builder.build(builder.edited([edit(DRIVER, "driver", "the driver", "a")]), tmp_path)
