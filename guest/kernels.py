# SPDX-License-Identifier: MIT
"""Kernels to boot: how users name them, where Debian has them, which are cached.

A kernel is written as a version (``7.3`` is the newest 7.3.x), a Debian package name, the name of one that was built
here (guest/builds.py), a built kernel tree, or ``IMAGE:MODULES`` (a bzImage and the directory with its modules).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from common.kernels import Version
from common.near import near, near_path
from guest import GuestError, bzimage, cache, debian, kconfig
from guest.debian import Package
from guest.modules import Module, Tree

RELEASES = ("trixie", "trixie-backports")
RECORDED = Path(__file__).with_name("kernels.json")
FLAVOUR = r"(?P<version>\d+\.\d+\.\d+)\+deb\d+-amd64"
# Up to 6.18 one package has everything; from 6.19 on the configuration, the image and the modules are in three.
NAMES = rf"linux-(?P<part>image|binary|binary-unsigned|modules|base)-{FLAVOUR}"
VERSION = re.compile(r"\d+\.\d+(\.\d+)?")
SMALLEST_IMAGE = 10_000_000  # bytes; a linux-image package without files, only dependencies, is 2 kB

# The first whose xe accepts a Battlemage as a virtual function (xe_pci.c: has_sriov in bmg_desc).
OLDEST = Version(6, 17)

IMAGE = "arch/x86/boot/bzImage"
"""In a built tree."""
BUILT = "built"
"""The cache's directory of kernels that were built here, each laid out as a built tree."""

FILES = ("overlay", "9p", "9pnet_virtio", "virtio_blk")
DRIVER = ("xe",)


@dataclass(frozen=True)
class Kernel:
    """A kernel that can be booted.

    ``boot`` is what QEMU gets: the ELF kernel where it has a PVH entry, else the bzImage. ``files`` are the modules
    that make the host's files visible and the disk to swap to, ``driver`` those of the driver under test, each in the
    order of loading.
    """

    release: str
    boot: Path
    files: Sequence[Module]
    driver: Sequence[Module]
    directory: Path
    debian: str | None = None
    """Its version, if it is one of Debian's."""
    build: str | None = None
    """Its name, if it was built here."""
    options: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """Its configuration: what is set, without the ``CONFIG_`` prefix."""

    @property
    def version(self) -> Version:
        return Version.parse(self.release)


def revision(package: Package) -> int:
    """Debian's, as the 2 of ``7.3.4-2~bpo13+1``."""
    found = re.match(r"\d+", package.version.rpartition("-")[2])
    return int(found[0]) if found else 0


def matches(version: str, wanted: str) -> bool:
    """Whether ``version`` is ``wanted``, or one of its series if ``wanted`` is short."""
    return version == wanted or version.startswith(wanted + ".")


def group(packages: Iterable[Package]) -> dict[str, list[Package]]:
    """The packages to unpack for each version of which the index has everything."""
    parts: dict[str, dict[str, Package]] = {}
    for package in packages:
        if named := re.fullmatch(NAMES, package.name):
            known = parts.setdefault(named["version"], {})
            old = known.get(named["part"])
            if old is None or revision(package) > revision(old):
                known[named["part"]] = package
    found: dict[str, list[Package]] = {}
    for version, known in parts.items():
        image = known.get("image")
        binary = known.get("binary", known.get("binary-unsigned"))
        if image and image.size > SMALLEST_IMAGE:
            found[version] = [image]
        elif binary and {"modules", "base"} <= known.keys():
            found[version] = [known["base"], binary, known["modules"]]
    return found


def recorded() -> dict[str, list[Package]]:
    """Kernels whose hashes the project keeps: Debian's index drops a version long before its pool does."""
    return table(RECORDED.read_text())


def table(text: str) -> dict[str, list[Package]]:
    return {
        version: [Package(**package) for package in packages]
        for version, packages in json.loads(text).items()
    }


def table_text(kernels: Mapping[str, Iterable[Package]]) -> str:
    plain = {v: [asdict(package) for package in kernels[v]] for v in sorted(kernels, key=Version.parse)}
    return json.dumps(plain, indent=1) + "\n"


def record(versions: Sequence[str]) -> None:
    """Add versions from today's index to the project's table."""
    if not versions:
        return
    known = indexed()
    RECORDED.write_text(table_text({**recorded(), **{version: known[version] for version in versions}}))


def indexed() -> dict[str, list[Package]]:
    """Kernels in Debian's index of today (at most a day old)."""
    archive = debian.Archive(*RELEASES)
    archive.refresh()
    # apt takes seconds to go through its lists: the answer is kept as long as they are.
    kept = archive.directory / "kernels.json"
    if not kept.exists() or kept.stat().st_mtime_ns < archive.stamp.stat().st_mtime_ns:
        found = group(archive.packages(NAMES.replace("?P<part>", "?:").replace("?P<version>", "?:")))
        debian.replace(kept, table_text(found))
    return table(kept.read_text())


def cached() -> list[str]:
    """Versions in the cache."""
    directory = cache.cache_root() / "kernels"
    return [path.name for path in directory.glob("*") if not path.name.endswith(".partial")]


def newest(versions: Iterable[str], wanted: str) -> str | None:
    fitting = [version for version in versions if matches(version, wanted)]
    return max(fitting, key=Version.parse, default=None)


def obtainable() -> dict[str, list[Package]]:
    """Every kernel that can be fetched and used: today's index, and the project's table for what has left it."""
    try:
        known = {**recorded(), **indexed()}
    except GuestError as error:
        cache.say(f"{error}; the project's own list is used")
        return recorded()
    return {version: packages for version, packages in known.items() if Version.parse(version) >= OLDEST}


def exact_version(wanted: str) -> str:
    """The version that ``wanted`` stands for today: the newest one available of a series."""
    if wanted in cached():
        return wanted
    known = obtainable()
    found = newest([*known, *cached()], wanted)
    if not found:
        series = [str(one) for one in sorted({Version.parse(version).series for version in known})]
        raise GuestError(
            f"no Debian kernel {wanted}{near(wanted, series)}; there are {', '.join(series)} "
            "(svmcts guest kernels lists them)"
        )
    return found


def provide(wanted: str, replacements: Sequence[Path] = ()) -> Kernel:
    """The kernel that the user named, with single modules replaced; fetched if it is a version that is not cached."""
    if VERSION.fullmatch(wanted):
        return from_debian(exact_version(wanted), replacements)
    if named := re.fullmatch(NAMES, wanted):
        return from_debian(exact_version(named["version"]), replacements)
    if "/" not in wanted and (built := cache.find(f"{BUILT}/{wanted}")):
        kernel = assemble(built / IMAGE, built, replacements)
        return dataclasses.replace(kernel, build=wanted)
    path, _, modules = wanted.partition(":")
    if modules:
        return assemble(Path(path).absolute(), Path(modules).absolute(), replacements)
    tree = Path(path).absolute()
    if tree.is_dir():
        return assemble(tree / IMAGE, tree, replacements)
    raise GuestError(
        f"kernel {wanted!r} is not a version (7.3), a Debian package, one that was built here (svmcts kernel list), "
        f"a built kernel tree, or IMAGE:MODULES{_near(wanted)}"
    )


def _near(wanted: str) -> str:
    if "/" in wanted:
        return near_path(Path(wanted))
    return near(wanted, sorted(path.name for path in (cache.cache_root() / BUILT).glob("*")))


def from_debian(version: str, replacements: Sequence[Path]) -> Kernel:
    directory = cache.provide(f"kernels/{version}", lambda path: build(version, path))
    image, modules = installed(directory)
    kernel = assemble(image, modules, replacements, decompressed(version, modules))
    return dataclasses.replace(kernel, debian=version)


def installed(directory: Path) -> tuple[Path, Path]:
    """Image and modules directory of an unpacked Debian kernel."""
    (modules,) = (directory / "usr/lib/modules").iterdir()
    images = [*(directory / "boot").glob("vmlinuz-*"), *modules.glob("vmlinuz*")]
    return images[0], modules


def build(version: str, directory: Path) -> None:
    """Fetch and unpack one Debian kernel."""
    packages = obtainable()[version]
    size = sum(package.size for package in packages) / 1e6
    with cache.at_work(f"fetching Debian kernel {version}, {size:.0f} MB"):
        archive = debian.Archive(*RELEASES)
        files = archive.fetch(packages)
        debian.unpack(files, directory)
    image, modules = installed(directory)
    kconfig.check(version, find_config(image, modules))
    for file in files:
        file.unlink()


def decompressed(version: str, modules: Path) -> Path:
    """The modules that are loaded at every start, decompressed."""
    names = (*FILES, *DRIVER)

    def write(directory: Path) -> None:
        for module in Tree(modules).load_order(names):
            (directory / f"{module.name}.ko").write_bytes(module.elf)

    # Another choice of modules is another entry.
    return cache.provide(f"modules/{version}-{hashlib.sha256(repr(names).encode()).hexdigest()[:8]}", write)


def find_config(image: Path, modules: Path) -> dict[str, str]:
    return kconfig.find(bzimage.Image(image).release, image, modules)


def assemble(image: Path, modules: Path, replacements: Sequence[Path], ready: Path | None = None) -> Kernel:
    """A kernel from its image and modules; ``ready`` has those to load already decompressed."""
    if not image.is_file():
        raise GuestError(f"no kernel image {image}: build the tree with make bzImage modules")
    boot = bzimage.Image(image)
    if Version.parse(boot.release) < OLDEST:
        raise GuestError(
            f"kernel {boot.release} does not know the emulated GPU: {OLDEST} is the first that does"
        )
    options = kconfig.find(boot.release, image, modules)
    kconfig.check(boot.release, options)
    tree = Tree(modules, replacements, ready) if replacements or ready is None else Tree(ready)
    files = tree.load_order(FILES)
    have = {module.name for module in files}
    driver = [module for module in tree.load_order(DRIVER) if module.name not in have]
    for module in (*files, *driver):
        if module.release != boot.release:
            raise GuestError(f"{module.name}.ko was built for {module.release}, the kernel is {boot.release}")
    if options["DRM_XE"] == "m" and not any(module.name == "xe" for module in driver):
        raise GuestError(f"no xe.ko below {modules}: build the tree with make modules")
    return Kernel(boot.release, bootable(boot, options), files, driver, modules, options=options)


def bootable(image: bzimage.Image, options: Mapping[str, str]) -> Path:
    """The file to give QEMU: the decompressed kernel if it can be started that way."""
    if options.get("PVH") != "y":
        return image.path
    key = f"vmlinux/{image.release}-{image.digest}"

    def build_vmlinux(directory: Path) -> None:
        (directory / "vmlinux").write_bytes(image.vmlinux() or image.data)

    path = cache.provide(key, build_vmlinux) / "vmlinux"
    cache.keep_newest(path.parent)
    return path
