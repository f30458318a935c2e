# SPDX-License-Identifier: MIT
"""A user-space xe driver at the system-call boundary.

kernel.py is the seam: what the transport (this package) offers to the driver (mock.driver), and what it calls
there. attach.py is the client's side. server.py is the mock process: gate.py answers system calls, memory/ is
the clients' address spaces, loop.py drives both.
"""
