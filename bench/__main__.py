"""`make bench`: measure the gateway's cost from outside and print it beside the targets.

The figures inform, they judge nothing: the exit status is 0 unless a phase could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import uvloop

from bench import servers
from bench.load import Unanswered
from bench.phases import FULL, QUICK, Scale, one_round, one_start
from bench.processes import NotReady
from bench.report import as_json, machine, rows, table


def main() -> int:
    """Run the command; return its exit status."""
    asked = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n")[0])
    asked.add_argument("--quick", action="store_true", help="fewer requests and rounds: seconds, and more scatter")
    asked.add_argument("--rounds", type=int, metavar="N", help="how often each phase is measured (5, or 2 if quick)")
    asked.add_argument("--json", type=Path, metavar="FILE", help="write every sample to a file, too")
    options = asked.parse_args()
    scale, count = (QUICK, 2) if options.quick else (FULL, 5)
    before, found = machine(), []
    try:
        found = rows(measure(scale, options.rounds or count))
    except* (Unanswered, NotReady, TimeoutError, OSError) as failed:
        print(*(f"a phase failed: {exc}" for exc in failed.exceptions), sep="\n", file=sys.stderr)
    if not found:
        return 1
    print(table(found))
    print(
        f"{before['processor']}, {before['cores']} cores, load {before['load']} at the start, Python {before['python']}"
    )
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": before, "rows": as_json(found)}, indent=2), encoding="utf-8")
    return 0


def measure(scale: Scale, count: int) -> list[dict[str, float]]:
    """Return what each of `count` rounds has measured, after one that does not count."""
    with (
        tempfile.TemporaryDirectory(prefix="hedgerow-bench-") as name,
        ExitStack() as running,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        folder = Path(name)
        upstream = running.enter_context(servers.upstream(folder))
        gateway = running.enter_context(servers.gateway(folder, upstream))
        nginx = None
        if shutil.which("nginx"):
            nginx = running.enter_context(servers.nginx(folder, upstream))
        else:
            print("nginx is not installed: the limit is not measured beside the gateway", file=sys.stderr)
        one_round(runner, QUICK, gateway, upstream, nginx)
        measured = []
        for number in range(1, count + 1):
            print(f"round {number} of {count}", file=sys.stderr)
            round_ = one_round(runner, scale, gateway, upstream, nginx)
            measured.append(round_ | one_start(runner, scale, folder, upstream))
        return measured


if __name__ == "__main__":
    sys.exit(main())
