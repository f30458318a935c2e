# SPDX-License-Identifier: MIT
"""Compiled forms of Python sources, made on the host: compiling takes ten times as long in a guest under TCG.

pytest compiles test modules, conftest files and the modules of its plugins itself, with assertions rewritten, and keeps
that form next to Python's. Both are made here; a reader in the guest finds them fresh.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import marshal
import os
import py_compile
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

TAG = str(sys.implementation.cache_tag)
UNCHECKED = (1).to_bytes(
    4, "little"
)  # PEP 552: found by hash, and not compared with the source at every import
HEADER = 16  # bytes of a .pyc before the code

try:
    # Not a public interface of pytest. Without it guests start more slowly, and nothing else changes.
    import _pytest.assertion.rewrite as pytest_rewrite
except ImportError:  # pragma: no cover
    pytest_rewrite = None  # type: ignore[assignment]


def plain(source: Path, data: bytes) -> bytes:
    """The .pyc that Python itself would write, marked as always fresh."""
    code = compile(data, str(source), "exec", dont_inherit=True, optimize=0)
    return importlib.util.MAGIC_NUMBER + UNCHECKED + importlib.util.source_hash(data) + marshal.dumps(code)


def rewritten(source: Path, _: bytes) -> bytes:
    """The .pyc that pytest would write."""
    source_hash, code = pytest_rewrite._rewrite_test(source, None)  # type: ignore[arg-type]
    out = io.BytesIO()
    pytest_rewrite._write_pyc_fp(out, source_hash, code)
    return out.getvalue()


FORMS: dict[str, Callable[[Path, bytes], bytes]] = {TAG: plain}
if hasattr(pytest_rewrite, "_rewrite_test") and hasattr(pytest_rewrite, "_write_pyc_fp"):
    FORMS[pytest_rewrite.PYTEST_TAG] = rewritten


def place(source: Path, tag: str) -> Path:
    return source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc"


def forms(source: Path, *, tested: bool) -> Iterator[tuple[Path, bytes]]:
    """(path, content) of the compiled forms of ``source``; also pytest's, if it is ``tested``."""
    data = source.read_bytes()
    for tag, make in FORMS.items():
        if tag == TAG or tested:
            try:
                yield place(source, tag), make(source, data)
            except (SyntaxError, ValueError):
                return  # templates and test data that are not Python of this version


def refresh(sources: Iterable[tuple[Path, bool]]) -> None:
    """Compile those of (source, tested) that have changed, into the __pycache__ directories that Python uses.

    If these cannot be written, the guest compiles for itself.
    """
    with contextlib.suppress(OSError):
        for source, tested in sources:
            with contextlib.suppress(py_compile.PyCompileError, SyntaxError, ValueError):
                _refresh(source, tested)


def _refresh(source: Path, tested: bool) -> None:
    status = source.stat()
    stamp = (int(status.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + status.st_size.to_bytes(4, "little")
    if _header(place(source, TAG)) != importlib.util.MAGIC_NUMBER + bytes(4) + stamp:
        py_compile.compile(str(source), cfile=str(place(source, TAG)), doraise=True)
    for tag, make in FORMS.items():
        data = source.read_bytes()
        if tag != TAG and tested and _header(place(source, tag))[8:] != importlib.util.source_hash(data):
            partial = place(source, tag).with_suffix(f".{os.getpid()}")
            partial.write_bytes(make(source, data))
            partial.replace(place(source, tag))


def _header(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEADER)
    except FileNotFoundError:
        return b""
