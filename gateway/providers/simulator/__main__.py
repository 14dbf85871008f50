"""The command `python -m gateway.providers.simulator`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from gateway.providers.simulator.behaviour import vocabulary
from gateway.providers.simulator.running import run


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m gateway.providers.simulator", description="A scripted provider.")
    parser.add_argument("--script", type=Path, help="a YAML or JSON file: model name to behaviour")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on")
    parser.add_argument("--port", type=int, default=0, help="the port; 0 takes any free one")
    parser.add_argument("--seed", type=int, default=0, help="runs with the same seed behave the same")
    parser.add_argument("--words", action="store_true", help="print the words of a script and what they mean")
    said = parser.parse_args()
    if said.words:
        sys.stdout.writelines(f"{line}\n" for line in vocabulary())
        return
    run(script=said.script, host=said.host, port=said.port, seed=said.seed)


if __name__ == "__main__":
    main()
