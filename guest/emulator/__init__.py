# SPDX-License-Identifier: MIT
"""A Battlemage GPU for QEMU, as the stock xe driver sees one as an SR-IOV virtual function, over vfio-user.

``python -m guest.emulator --socket PATH`` serves one GPU, a second ``--socket`` a second one that can reach
the first one's memory. The house, from the outside in: ``vfio_user`` (the protocol), ``loop`` (the only
loop), ``pci`` (configuration space), ``registers``, the GuC (``mailbox``, ``ctb``, ``relay``, ``klv``,
``guc``), ``memirq``, ``context`` and ``scheduler``, and below them what an address means: ``ggtt``,
``page_tables``, ``tlb``, ``space``, ``memory``. ``faults`` is the page fault protocol, ``checks`` says what a
driver did wrong, ``trace`` shows everything.
"""
