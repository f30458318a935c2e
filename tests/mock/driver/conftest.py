# SPDX-License-Identifier: MIT
"""Drivers and clients for the tests of the driver; an internal error of the driver fails the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from mock.driver.driver import Driver
from tests.mock.driver.double import Client, Services
from tests.mock.driver.gpu_client import Gpu

Open = Callable[..., Client]


@pytest.fixture
def services() -> Iterator[Services]:
    """A miniature kernel."""
    services = Services()
    yield services
    for what, error in services.errors:
        raise AssertionError(f"internal error in {what}") from error


@pytest.fixture
def open_client(services: Services) -> Open:
    """Makes clients: open_client("bmg", level="7.3", minor=128). One driver a platform and level."""
    drivers: dict[tuple[str, str], Driver] = {}

    def open_one(platform: str = "bmg", level: str = "7.3", **options: object) -> Client:
        key = platform, level
        if key not in drivers:
            drivers[key] = Driver(platform, level, services)
        return Client(drivers[key], services, **options)  # type: ignore[arg-type]

    return open_one


@pytest.fixture
def client(open_client: Open) -> Client:
    """A client of a bmg at the newest level."""
    return open_client()


@pytest.fixture
def gpu(client: Client) -> Gpu:
    """Calls of that client."""
    return Gpu(client)
