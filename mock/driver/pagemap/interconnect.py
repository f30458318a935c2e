# SPDX-License-Identifier: MIT
"""Which device can map whose VRAM: groups of devices that all reach each other (drm_pagemap_util.c, xe_svm.c)."""

from __future__ import annotations

from collections.abc import Callable


class Owner:
    """A group (struct drm_pagemap_owner). Pages in VRAM are mapped in place by those of the same group only."""


class Peer:
    """What takes part in a group: a VM in fault mode, or a VRAM region (struct drm_pagemap_peer).

    device  number of the GPU it is of
    owner   its group while it does
    """

    def __init__(self, device: int) -> None:
        self.device = device
        self.owner: Owner | None = None


class Owners:
    """All that take part, the members of a group next to each other (struct drm_pagemap_owner_list)."""

    def __init__(self, linked: Callable[[int, int], bool]) -> None:
        """`linked` tells of two GPUs by their numbers whether they reach each other's VRAM over a fast link."""
        self._linked = linked
        self._peers: list[Peer] = []

    def acquire(self, peer: Peer) -> None:
        """Join the first group that has a link to `peer` from every member, or a new one; once."""
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
