# SPDX-License-Identifier: MIT
"""Modules with a fault, from a kernel that ``svmcts kernel build`` has built.

Only the edited files are compiled, and only their modules linked, by the commands that make has left next to
each object (Kbuild's .cmd files). Nothing is written into the kernel's source or build.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.answers import NoAnswerError
from common.compiler import first_error
from sensitivity.source import Edit


class BuildError(Exception):
    """An edited file does not compile; the message is the compiler's first error."""


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds modules of one kernel."""

    tree: Path
    """Folder of the kernel's objects."""

    @property
    def source(self) -> Path:
        """The kernel's source."""
        return (self.tree / "source").resolve()

    def text(self, file: str) -> str:
        """A file of the kernel's source. Raises NoAnswerError."""
        try:
            return (self.source / file).read_text(encoding="utf-8")
        except OSError as error:
            raise NoAnswerError(f"{self.source / file}: {error.strerror}") from None

    def edited(self, edits: Iterable[Edit]) -> dict[str, str]:
        """The files that edits change, as they are after them. Raises EditError."""
        files: dict[str, str] = {}
        for edit in edits:
            files[edit.file] = edit.apply(files.get(edit.file) or self.text(edit.file))
        return files

    def module_of(self, file: str) -> Path:
        """The list of objects of the module that a file is part of, in the tree. Raises NoAnswerError."""
        made = Path(file).with_suffix(".o")
        for folder in (made.parent, *made.parent.parents[:2]):
            for listed in sorted((self.tree / folder).glob("*.mod")):
                if str(made) in listed.read_text().split():
                    return listed.relative_to(self.tree)
        raise NoAnswerError(f"{file}: part of no module of {self.tree}")

    def build(self, files: Mapping[str, str], out: Path) -> dict[str, Path]:
        """Module name to the file of each module that has one of the files. Raises BuildError."""
        modules: dict[Path, dict[str, Path]] = {}
        for file, text in files.items():
            made = out / Path(file).with_suffix(".o").name
            (out / Path(file).name).write_text(text, encoding="utf-8")
            self._compile(file, out / Path(file).name, made)
            modules.setdefault(self.module_of(file), {})[str(Path(file).with_suffix(".o"))] = made
        return {listed.stem: self._link(listed, new, out) for listed, new in modules.items()}

    def compiles(self, files: Mapping[str, str], out: Path) -> bool:
        """Whether the compiler takes the files; faster than building them."""
        try:
            for file, text in files.items():
                (out / Path(file).name).write_text(text, encoding="utf-8")
                self._compile(file, out / Path(file).name, out / "none.o", "-fsyntax-only")
        except BuildError:
            return False
        return True

    def _compile(self, file: str, edited: Path, made: Path, extra: str = "") -> None:
        old = Path(file).with_suffix(".o")
        depends = f"{old.parent}/.{old.name}.d"
        command = self._command(old)
        for before, after in (
            (f"-MMD,{depends}", f"-MMD,{made}.d"),
            (f" -o {old}", f" -iquote {shlex.quote(str((self.source / file).parent))} -o {made} {extra}"),
            (str(self.source / file), str(edited)),
        ):
            if before not in command:
                raise NoAnswerError(f"{self.tree}: the command of {old} has no {before}")
            command = command.replace(before, after)
        self._run(command)

    def _link(self, listed: Path, new: Mapping[str, Path], out: Path) -> Path:
        objects = [str(new.get(name, name)) for name in (self.tree / listed).read_text().split()]
        (out / listed.name).write_text("\n".join(objects) + "\n")
        linked, module = listed.with_suffix(".o"), listed.with_suffix(".ko")
        first = self._command(linked).replace(f"@{listed}", f"@{out / listed.name}")
        self._run(first.replace(str(linked), str(out / linked.name)))
        second = self._command(module).replace(f"-o {module}", f"-o {out / module.name}")
        self._run(second.replace(f" {linked} ", f" {out / linked.name} "))
        return out / module.name

    def _command(self, made: Path) -> str:
        try:
            line = (self.tree / made.parent / f".{made.name}.cmd").read_text().splitlines()[0]
        except OSError as error:
            raise NoAnswerError(f"{self.tree}: no command of {made}: {error.strerror}") from None
        return line.partition(" := ")[2]

    def _run(self, command: str) -> None:
        done = subprocess.run(
            ["nice", "sh", "-c", command], cwd=self.tree, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BuildError(first_error(done.stderr.splitlines()))
