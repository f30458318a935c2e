# SPDX-License-Identifier: MIT
"""Compiled forms of Python sources, made on the host: compiling takes ten times as long in a guest under TCG.

pytest compiles test modules, conftest files and the modules of its plugins in a way of its own, with assertions
rewritten, and keeps that form beside the other one. Both are made here; a reader in the guest finds them fresh by
the hash of the source.
"""

import contextlib
import hashlib
import importlib.util
import io
import marshal
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

TAG = sys.implementation.cache_tag
MOST_KEPT = 5000  # files of kept_forms(); a checkout has some hundreds
UNCHECKED = (1).to_bytes(
    4, "little"
)  # PEP 552: found by hash, and not compared with the source at every import

try:
    # Not an interface of pytest's; without it guests start later, and nothing else changes.
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


FORMS: dict[str, Callable[[Path, bytes], bytes]] = {str(TAG): plain}
if hasattr(pytest_rewrite, "_rewrite_test") and hasattr(pytest_rewrite, "_write_pyc_fp"):
    FORMS[pytest_rewrite.PYTEST_TAG] = rewritten


def forms(source: Path, *, tested: bool) -> Iterator[tuple[Path, bytes]]:
    """(path, content) of the compiled forms of ``source``; that of pytest too, if it is ``tested``."""
    data = source.read_bytes()
    for tag, make in FORMS.items():
        if tag == TAG or tested:
            try:
                yield source.parent / "__pycache__" / f"{source.stem}.{tag}.pyc", make(source, data)
            except (SyntaxError, ValueError):
                return  # templates and test data that are not Python of this version


def kept_forms(source: Path, directory: Path, *, tested: bool) -> list[tuple[Path, bytes]]:
    """As ``forms``, with what was made before kept in ``directory``."""
    identity = hashlib.sha256(
        f"{source}\0{tested}\0{FORMS.keys()}\0".encode() + source.read_bytes()
    ).hexdigest()
    kept = directory / identity
    with contextlib.suppress(FileNotFoundError, EOFError, ValueError):
        return [(Path(path), content) for path, content in marshal.loads(kept.read_bytes())]
    made = list(forms(source, tested=tested))
    directory.mkdir(parents=True, exist_ok=True)
    if sum(1 for _ in directory.iterdir()) > MOST_KEPT:
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(exist_ok=True)
    partial = kept.with_name(f"{identity}.{os.getpid()}")
    partial.write_bytes(marshal.dumps([(str(path), content) for path, content in made]))
    partial.replace(kept)
    return made
