# SPDX-License-Identifier: MIT
"""Access to the VRAM of other GPUs: groups of devices with fast links to each other (drm_pagemap_util.c, xe_svm.c)."""

from __future__ import annotations

from collections.abc import Callable


class Owner:
    """A group (struct drm_pagemap_owner). Only its members map each other's VRAM pages in place."""


class Peer:
    """Member of a group: a VM in fault mode, or a VRAM region (struct drm_pagemap_peer).

    device  number of its GPU
    owner   its group, None if it is in none
    """

    def __init__(self, device: int) -> None:
        self.device = device
        self.owner: Owner | None = None


class Owners:
    """All members, sorted by group (struct drm_pagemap_owner_list)."""

    def __init__(self, linked: Callable[[int, int], bool]) -> None:
        """``linked``: whether two GPUs, given by number, have a fast link to each other's VRAM."""
        self._linked = linked
        self._peers: list[Peer] = []

    def acquire(self, peer: Peer) -> None:
        """Join the first group whose members all have a link to ``peer``, or a new one, unless it is in one."""
        if peer.owner is not None:
            return
        groups: dict[Owner, list[Peer]] = {}
        for one in self._peers:
            assert one.owner is not None
            groups.setdefault(one.owner, []).append(one)
        for owner, members in groups.items():
            if all(self._reaches(peer, member) for member in members):
                peer.owner = owner
                break
        else:
            peer.owner = Owner()
        self._peers.append(peer)

    def release(self, peer: Peer) -> None:
        """Leave the group."""
        if peer.owner is not None:
            self._peers.remove(peer)
            peer.owner = None

    def _reaches(self, one: Peer, other: Peer) -> bool:
        """xe_has_interconnect()."""
        return one.device == other.device or self._linked(one.device, other.device)
