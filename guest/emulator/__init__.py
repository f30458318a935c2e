# SPDX-License-Identifier: MIT
"""A Battlemage GPU for QEMU, as the stock xe driver sees one as an SR-IOV virtual function, over vfio-user.

``python -m guest.emulator --socket PATH`` serves one GPU, a second ``--socket`` a second one; each reaches the other's
memory. One process, one thread, one loop. From the outside in:

- ``vfio_user`` the protocol, ``loop`` the loop, ``device`` a GPU: its regions and registers, ``pci`` its
  configuration space, ``memory`` its VRAM and what it reaches on the bus;
- ``gt`` a GT, of one of two ``kinds``: ``mailbox``, ``ctb``, ``guc`` (every message), ``relay``, ``klv``, ``hxg``
  (their bits), ``memirq`` its interrupts;
- ``scheduler`` whose turn it is, ``context`` a ring and its image, ``parallel`` several of them, ``engines``,
  ``faults`` the page fault protocol; commands are carried out by the package ``gpu``;
- ``space`` an access by a GPU address, ``tlb`` the translations that are kept, ``page_tables`` and ``ggtt`` where they
  come from, ``atomics``;
- ``checks`` what a driver did wrong, ``owners`` what that takes to know, ``trace`` everything that happens.
"""
