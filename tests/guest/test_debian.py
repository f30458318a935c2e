# SPDX-License-Identifier: MIT
"""The private apt: its configuration, apt's answers, and verified files."""

from __future__ import annotations

import hashlib
import subprocess
import time
from pathlib import Path

import pytest

from guest import GuestError, debian
from guest.debian import Archive, Package

TARGETS = """MetaKey: main/binary-amd64/Packages
Codename: bookworm-security
Label: Debian-Security
Origin: Debian
Repo-URI: https://security.example/debian-security/

MetaKey: main/binary-amd64/Packages
Label: Third Party
Origin: Third Party
Repo-URI: https://third.example/apt/

MetaKey: main/binary-amd64/Packages
Codename: bookworm
Label: Debian
Origin: Debian
Repo-URI: http://mirror.example/debian/
"""

SHOWN = """Package: linux-modules-7.3.4+deb13-amd64
Source: linux
Version: 7.3.4-1~bpo13+1
Description-en: kernel modules
 More about them.
 .
 And more.
Filename: pool/main/l/linux/linux-modules-7.3.4+deb13-amd64_7.3.4-1~bpo13+1_amd64.deb
Size: 106862204
SHA256: b3ea

Package: linux-image-amd64
Version: 7.3.4-1
"""


def test_the_machines_own_mirror_is_found_among_its_sources() -> None:
    assert debian.debian_mirror(TARGETS) == "http://mirror.example/debian"


def test_a_mirror_whose_lists_were_never_fetched_is_known_by_its_path() -> None:
    text = "Repo-URI: https://third.example/apt/\n\nRepo-URI: http://mirror.example/debian/\n"
    assert debian.debian_mirror(text) == "http://mirror.example/debian"


def test_other_archives_are_not_taken_for_debian() -> None:
    assert (
        debian.debian_mirror("Repo-URI: http://mirror.example/ubuntu/\nOrigin: Ubuntu\nLabel: Ubuntu\n")
        is None
    )


def test_the_users_mirror_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVMCTS_MIRROR", "http://own.example/debian/")
    assert debian.mirror() == "http://own.example/debian"


def test_packages_are_read_with_what_verifies_them() -> None:
    (package,) = debian.parse_packages(SHOWN)
    assert (package.name, package.version, package.size, package.sha256) == (
        "linux-modules-7.3.4+deb13-amd64",
        "7.3.4-1~bpo13+1",
        106862204,
        "b3ea",
    )
    assert package.file_name == "linux-modules-7.3.4+deb13-amd64_7.3.4-1~bpo13+1_amd64.deb"


def test_continued_fields_stay_in_their_field() -> None:
    first, *_ = debian.stanzas(SHOWN)
    assert first["Description-en"] == "kernel modules\nMore about them.\n.\nAnd more."
    assert "More about them." not in first


def test_files_to_fetch_are_read_with_what_verifies_them() -> None:
    text = (
        "'http://m.example/pool/q/qemu/qemu-system-x86_11.1.3%2bds-1_amd64.deb' "
        "qemu-system-x86_1%3a11.1.3+ds-1_amd64.deb 10400000 SHA256:00\nReading package lists...\n"
    )
    path = "pool/q/qemu/qemu-system-x86_11.1.3+ds-1_amd64.deb"
    assert debian.parse_uris(text, "http://m.example") == [
        Package("qemu-system-x86", "1:11.1.3+ds-1", path, 10400000, "00")
    ]


def test_the_private_configuration_keeps_the_machines_proxy_and_nothing_else() -> None:
    dump = 'Acquire::http::Proxy "http://proxy.example:3128";\nAcquire::IndexTargets::deb::Packages "";\n'
    text = debian.config_text(Path("/c/apt"), Path("/c/downloads"), dump)
    assert 'Acquire::http::Proxy "http://proxy.example:3128";' in text
    assert "IndexTargets" not in text
    assert 'Dir::State::status "/c/apt/status";' in text
    assert 'Dir::Etc::parts "/dev/null";' in text


def test_the_sources_are_signed_by_the_archive_keys() -> None:
    text = debian.sources_text("http://m.example/debian", ("trixie", "trixie-backports"), Path("/k/keys.gpg"))
    assert "Suites: trixie trixie-backports\n" in text
    assert "Signed-By: /k/keys.gpg\n" in text


APT_SAYS = (
    "W: slow\nE: Failed to fetch http://m/InRelease  no route\nE: Some index files failed to download.\n"
)


class FakeApt:
    """Answers apt's programs in an Archive."""

    def __init__(
        self,
        archive: Archive,
        monkeypatch: pytest.MonkeyPatch,
        *,
        content: bytes = b"deb",
        fail: bool = False,
    ):
        self.calls: list[tuple[str, ...]] = []
        self.content = content
        self.fail = fail
        self.downloads = archive.downloads
        monkeypatch.setattr(archive, "_apt", self)
        monkeypatch.setenv("SVMCTS_MIRROR", "http://m.example/debian")

    def __call__(self, *command: str, capture: bool = False):
        self.calls.append(command)
        if "--print-uris" in command:
            return subprocess.CompletedProcess(command, int(self.fail), self._uris(command), APT_SAYS)
        if "download-file" in command and not self.fail:
            Path(command[3]).write_bytes(self.content)
        return subprocess.CompletedProcess(command, int(self.fail), "", APT_SAYS)

    def _uris(self, command: tuple[str, ...]) -> str:
        """URIs of a and b, as apt prints them: only of packages that are not in its archives."""
        settings = [word.partition("=")[2] for word in command if word.startswith("Dir::Cache::archives=")]
        archives = Path(settings[-1]) if settings else self.downloads
        names = [name for name in ("a_1_amd64.deb", "b_1_amd64.deb") if not (archives / name).exists()]
        return "".join(
            f"'http://m.example/debian/pool/{name[0]}/{name}' {name} 3 SHA256:{PACKAGE.sha256}\n"
            for name in names
        )


PACKAGE = Package("a", "1", "pool/a/a_1_amd64.deb", 3, hashlib.sha256(b"deb").hexdigest())


def test_a_file_is_fetched_once_and_by_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive("trixie")
    apt = FakeApt(archive, monkeypatch)
    (first,) = archive.fetch([PACKAGE])
    (second,) = archive.fetch([PACKAGE])
    assert first == second
    assert first.read_bytes() == b"deb"
    ((_, _, uri, _, verification),) = apt.calls
    assert uri == "http://m.example/debian/pool/a/a_1_amd64.deb"
    assert verification == f"SHA256:{PACKAGE.sha256}"


def test_a_damaged_file_in_the_cache_is_fetched_again(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive("trixie")
    FakeApt(archive, monkeypatch)
    archive.downloads.mkdir(parents=True)
    (archive.downloads / "a_1_amd64.deb").write_bytes(b"dex")
    assert archive.fetch([PACKAGE])[0].read_bytes() == b"deb"


def test_the_beginning_of_a_download_is_dropped_when_nobody_goes_on_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archive = Archive("trixie")
    FakeApt(archive, monkeypatch)
    archive.downloads.mkdir(parents=True)
    beginning = archive.downloads / "b_1_amd64.deb"
    beginning.write_bytes(b"d")
    archive.fetch([PACKAGE])
    assert beginning.exists()
    later = time.time() + debian.ABANDONED_S + 60
    monkeypatch.setattr(debian.time, "time", lambda: later)
    archive.fetch([PACKAGE])
    assert not beginning.exists()


def test_a_file_that_cannot_be_fetched_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive("trixie")
    FakeApt(archive, monkeypatch, fail=True)
    with pytest.raises(GuestError, match=r"could not fetch a_1_amd64\.deb; run the command again to resume"):
        archive.fetch([PACKAGE])


@pytest.mark.parametrize("there", [0, 1, 2])
def test_interrupted_fetch_goes_on(monkeypatch: pytest.MonkeyPatch, there: int) -> None:
    """Files fetched by an interrupted run are not fetched again, and are part of the result."""
    archive = Archive("trixie")
    FakeApt(archive, monkeypatch)
    first = archive.fetch_closure("a")
    assert [file.name for file in first] == ["a_1_amd64.deb", "b_1_amd64.deb"]
    for file in first[there:]:
        file.unlink()
    apt = FakeApt(archive, monkeypatch)
    assert archive.fetch_closure("a") == first
    assert sum("download-file" in command for command in apt.calls) == 2 - there
    assert all(file.read_bytes() == b"deb" for file in first)


def test_closure_without_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive("trixie")
    FakeApt(archive, monkeypatch)
    with pytest.raises(GuestError, match="apt does not say what c needs"):
        archive.fetch_closure("c")


def test_lists_are_fetched_once_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive("trixie")
    archive.directory.mkdir(parents=True)
    apt = FakeApt(archive, monkeypatch)
    archive.refresh()
    archive.refresh()
    assert len(apt.calls) == 1
    archive.refresh(age_s=0)
    assert len(apt.calls) == 2


def test_old_lists_do_when_the_mirror_is_away(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    archive = Archive("trixie")
    archive.directory.mkdir(parents=True)
    FakeApt(archive, monkeypatch)
    archive.refresh()
    FakeApt(archive, monkeypatch, fail=True)
    archive.refresh(age_s=0)
    said = capsys.readouterr().err
    assert (
        "Debian cannot be reached, older lists are used: Failed to fetch http://m/InRelease no route\n"
        in said
    )


def test_without_any_list_the_mirrors_error_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    archive = Archive("trixie")
    archive.directory.mkdir(parents=True)
    FakeApt(archive, monkeypatch, fail=True)
    with pytest.raises(
        GuestError, match=r"^Debian cannot be reached: Failed to fetch http://m/InRelease no route \("
    ):
        archive.refresh()


def test_a_program_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(GuestError, match="dpkg-deb is not installed"):
        debian.need("dpkg-deb")
