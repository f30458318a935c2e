# SPDX-License-Identifier: MIT
"""Request numbers: python-ioctl encodes them, ioctl-opt and the C compiler agree, and its pitfalls are avoided."""

from __future__ import annotations

import ctypes
import importlib.metadata
import subprocess
from pathlib import Path

import ioctl_opt
import pytest

import ioctl
from ioctl import drm, encoding, xe
from ioctl.compiler import NoCompilerError, find_compiler
from ioctl.encoding import Direction, EncodingError, Request, encode
from ioctl.layout import Structure, u32

REQUESTS = (*xe.REQUESTS, *drm.REQUESTS)


def test_python_ioctl_is_the_installed_distribution_and_ioctl_is_this_package() -> None:
    """Both have the import name ioctl; neither hides the other."""
    assert Path(encoding.python_ioctl.__file__).is_relative_to(
        str(importlib.metadata.distribution("ioctl").locate_file(""))
    )
    assert Path(ioctl.__file__).parent == Path(encoding.__file__).parent
    assert encoding.python_ioctl.IOCTL.__module__ == "python_ioctl"


def test_all_requests_of_the_header_are_there() -> None:
    """16 requests of the driver, 5 of observation streams."""
    assert sorted(r.nr - drm.DRM_COMMAND_BASE for r in xe.REQUESTS if r.kind == "d") == list(range(16))
    assert sorted(r.nr for r in xe.REQUESTS if r.kind == "i") == list(range(5))


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_number_is_that_of_an_independent_encoder(request_: Request) -> None:
    """ioctl-opt computes the same number from the same parts."""
    kind = ord(request_.kind)
    if request_.direction == Direction.NONE:
        expected = ioctl_opt.IO(kind, request_.nr)
    else:
        make = {1: ioctl_opt.IOW, 2: ioctl_opt.IOR, 3: ioctl_opt.IOWR}[int(request_.direction)]
        expected = make(kind, request_.nr, request_.struct)
    assert request_.number == expected


def test_numbers_are_those_of_the_machines_ioctl_h() -> None:
    """The C compiler computes the same numbers with asm/ioctl.h, from directions and sizes."""
    try:
        compiler = find_compiler()
    except NoCompilerError as error:
        pytest.skip(str(error))
    macro = {0: "_IO('{0}',{1})", 1: "_IOW('{0}',{1},char[{2}])", 2: "_IOR('{0}',{1},char[{2}])"}
    macro[3] = "_IOWR('{0}',{1},char[{2}])"
    lines = [
        f'_Static_assert({macro[int(r.direction)].format(r.kind, r.nr, r.size)} == {r.number}u, "{r}");'
        for r in REQUESTS
    ]
    source = "#include <asm/ioctl.h>\n" + "\n".join(lines)
    command = [*compiler.command, "-x", "c", "-fsyntax-only", "-"]
    run = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if "asm/ioctl.h" in run.stderr:
        pytest.skip("no asm/ioctl.h on this machine")
    assert run.stderr == ""


@pytest.mark.parametrize(
    ("request_", "number"),
    [
        (xe.DRM_IOCTL_XE_DEVICE_QUERY, 0xC0286440),
        (xe.DRM_IOCTL_XE_VM_BIND, 0x40886445),
        (xe.DRM_IOCTL_XE_MADVISE, 0x4040644C),
        (xe.DRM_XE_OBSERVATION_IOCTL_STATUS, 0x6903),
        (drm.DRM_IOCTL_GEM_CLOSE, 0x40086409),
    ],
    ids=str,
)
def test_number_is_the_one_seen_on_real_systems(request_: Request, number: int) -> None:
    """Constants that do not depend on any encoder."""
    assert request_.number == number


@pytest.mark.parametrize(
    ("direction", "kind", "nr", "size", "complaint"),
    [
        (Direction.WRITE, "d", 0x40, 1 << 14, "argument of 16384 bytes: must be 0 to 16383"),
        (Direction.WRITE, "d", 0x40, 1 << 15, "argument of 32768 bytes"),
        (Direction.WRITE, "d", 256, 8, "number 256: must be 0 to 255"),
        (Direction.WRITE, "d", -1, 8, "number -1"),
        (Direction.WRITE, "dd", 1, 8, "must be one character"),
        (Direction.WRITE, "\u0141", 1, 8, "must be one character"),
        (Direction.WRITE, "d", 1, 0, "does not go with direction WRITE"),
        (Direction.NONE, "d", 1, 8, "does not go with direction NONE"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    direction: Direction, kind: str, nr: int, size: int, complaint: str
) -> None:
    """python-ioctl 0.2.2 lets most of these spill into the neighbouring field."""
    with pytest.raises(EncodingError, match=complaint):
        encode(direction, kind, nr, size)


def test_an_argument_too_large_is_refused_where_the_request_is_declared() -> None:
    """Import time, not the first call."""

    class Large(Structure):
        __slots__ = ()
        _fields_ = (("data", u32 * 4096),)

    with pytest.raises(EncodingError, match="16384 bytes"):
        Request("LARGE", Direction.WRITE, "d", 1, Large, "7.3")


def test_the_largest_argument_is_taken() -> None:
    """The limit is not one too low."""
    assert encode(Direction.BOTH, "d", 255, (1 << 14) - 1) == 0xFFFF64FF


def test_a_number_that_does_not_come_apart_again_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A python-ioctl that encodes differently is detected at import."""
    library = encoding.python_ioctl.IOCTL
    monkeypatch.setattr(library, "IOW", library.IOR)
    with pytest.raises(EncodingError, match="comes apart as"):
        encode(Direction.WRITE, "d", 1, 8)


def test_without_python_ioctl_the_import_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line."""

    def none(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", none)
    with pytest.raises(ImportError, match=r"^python-ioctl is not installed .*: run make setup$"):
        encoding._load_python_ioctl()


def test_request_has_its_parts() -> None:
    """Parts of a request that the other packages use."""
    request = xe.DRM_IOCTL_XE_MADVISE
    assert (str(request), request.direction, request.nr) == ("DRM_IOCTL_XE_MADVISE", Direction.WRITE, 0x4C)
    assert request.struct is xe.drm_xe_madvise
    assert request.size == ctypes.sizeof(xe.drm_xe_madvise) == 64
    assert xe.DRM_XE_OBSERVATION_IOCTL_STATUS.size == 0
