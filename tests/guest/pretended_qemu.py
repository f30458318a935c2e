# SPDX-License-Identifier: MIT
"""A program that plays QEMU and the guest in it: answers monitor commands, and reports as init does (guest/init.py).

Environment variables change that: PRETEND_REFUSES is a monitor command to refuse, PRETEND_DIES a message on standard
error with which it ends at once, PRETEND_EVENTS the reports to make instead of running the command.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

LINE = " ".join(sys.argv[1:])
running = threading.Event()


def chardev(name: str) -> socket.socket:
    """The inherited socket of the character device ``name``."""
    (number,) = re.findall(rf"socket,id={name},fd=(\d+)", LINE)
    return socket.socket(fileno=int(number))


def answer(command: str, arguments: dict[str, str]) -> dict[str, Any]:
    if command == os.environ.get("PRETEND_REFUSES"):
        return {"error": {"desc": "not today"}}
    path = Path(arguments.get("uri", "").removeprefix("file:"))
    if command == "migrate":
        path.write_text("state")
    if command == "migrate-incoming" and path.read_text() != "state":
        return {"error": {"desc": "the state is damaged"}}
    if command == "cont":
        running.set()
    return {"return": {"status": "completed"} if command == "query-migrate" else {}}


def serve_monitor() -> None:
    stream = chardev("monitor").makefile("rwb")
    stream.write(b'{"QMP": {}}\n')
    stream.flush()
    for line in stream:
        request = json.loads(line)
        stream.write(b'{"event": "SOMETHING"}\n')  # events come at any time
        stream.write(json.dumps(answer(request["execute"], request["arguments"])).encode() + b"\n")
        stream.flush()


def speak(told: dict[str, Any], status: socket.socket) -> None:
    def report(event: str, **fields: object) -> None:
        status.sendall(json.dumps({"event": event, "uptime": 1.0, **fields}).encode() + b"\n")

    if scripted := os.environ.get("PRETEND_EVENTS"):
        for fields in json.loads(scripted):
            report(**fields)
    elif told.get("template"):
        report("template")
    else:
        report("ready", devices=[], release="pretended")
        data = chardev("stdin").makefile("rb").read()
        chardev("stdout").sendall(b"%s got %s" % (" ".join(told["command"]).encode(), data))
        chardev("stderr").sendall(b"a complaint")
        report("exit", code=3)


def main() -> None:
    if last_word := os.environ.get("PRETEND_DIES"):
        sys.exit(last_word)
    for path, size in re.findall(r'"mem-path": "([^"]*)", "size": (\d+)', LINE):
        assert Path(path).stat().st_size in (0, int(size))
    (console,) = re.findall(r"file,id=console,path=([^,]*),append=on", LINE)
    started = "a copy continues" if "-S" in LINE.split() else "a kernel boots"
    with Path(console).open("a") as file:
        file.write(f"{started}\n")
    threading.Thread(target=serve_monitor, daemon=True).start()
    if "-S" in LINE.split():
        running.wait()
    status = chardev("status")
    speak(json.loads(chardev("control").makefile("r").readline()), status)
    if "PRETEND_EVENTS" not in os.environ:
        time.sleep(20)  # until the host ends it


if __name__ == "__main__":
    main()
