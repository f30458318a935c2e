# SPDX-License-Identifier: MIT
"""The options for running a test, shared by the search through versions and the step in a tree."""

from __future__ import annotations

import argparse

NOT_YET = ("--any-kernel", "--require", "all")
"""For pytest, in a search for when something began to work: a feature that is not claimed yet does not work yet."""


def add_trial_options(parser: argparse.ArgumentParser) -> None:
    """Declare them."""
    parser.add_argument(
        "--test", required=True, metavar="ID", help="the test to search with, as pytest names it"
    )
    parser.add_argument("--gpus", type=int, choices=(1, 2), default=1, help="emulated GPUs (default: 1)")
    parser.add_argument(
        "--topology", choices=("near", "far"), default="near", help="two GPUs with p2p, or without"
    )
    parser.add_argument("--seed", metavar="N", help="seed of every run (default: a new one for each)")
    parser.add_argument(
        "--timeout",
        type=float,
        default=600,
        metavar="SECONDS",
        help="a run that takes longer cannot tell (default: 600)",
    )


def trial_options(options: argparse.Namespace) -> list[str]:
    """The same for pytest."""
    seed = ["--seed", options.seed] if options.seed else []
    topology = ["--topology", options.topology] if options.gpus > 1 else []
    return ["--gpus", str(options.gpus), *topology, *seed]
