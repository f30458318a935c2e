# SPDX-License-Identifier: MIT
"""Groups of devices that reach each other's VRAM."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from mock.driver.pagemap.interconnect import Owners, Peer
from mock.driver.platform import PLATFORMS

A, B, C = range(3)
CHAIN = ({A, B}, {B, C})


def chain() -> Owners:
    return Owners(lambda one, other: {one, other} in CHAIN)


def joined(owners: Owners, *devices: int) -> list[Peer]:
    peers = [Peer(device) for device in devices]
    for peer in peers:
        owners.acquire(peer)
    return peers


@pytest.mark.parametrize(
    ("order", "groups"),
    [
        ((A, B, C), (0, 0, 1)),
        ((B, A, C), (0, 0, 1)),
        ((B, C, A), (0, 0, 1)),
        ((C, B, A), (0, 0, 1)),
        ((A, C, B), (0, 1, 0)),
        ((A, A, B, B), (0, 0, 0, 0)),
        ((A, C, C, A), (0, 1, 1, 0)),
    ],
)
def test_a_peer_joins_the_first_group_that_it_reaches_all_of(order: Any, groups: Any) -> None:
    peers = joined(chain(), *order)
    for (one, group), (other, others) in itertools.combinations(zip(peers, groups, strict=True), 2):
        assert (one.owner is other.owner) == (group == others)


def test_a_group_that_was_left_does_not_bind_its_members() -> None:
    owners = chain()
    a, b, c = joined(owners, A, B, C)
    for peer in (a, b, c):
        owners.release(peer)
        owners.release(peer)
    assert a.owner is None
    c, b, a = joined(owners, C, B, A)
    assert b.owner is c.owner
    assert b.owner is not a.owner


def test_to_join_twice_is_to_join_once() -> None:
    owners = chain()
    (peer,) = joined(owners, A)
    owner = peer.owner
    owners.acquire(peer)
    assert peer.owner is owner
    owners.release(peer)
    (again,) = joined(owners, C)
    assert again.owner is not owner


def test_links_of_platforms_go_both_ways() -> None:
    for platform in PLATFORMS.values():
        for first, second in platform.links:
            assert second in platform.links_of(first)
            assert first in platform.links_of(second)
    assert PLATFORMS["bmg3-chain"].links_of(1) == {0, 2}
    assert PLATFORMS["bmg2-far"].links_of(0) == set()
