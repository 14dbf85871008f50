"""Runs a simulator until it is told to stop: what the command line calls."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from gateway.providers.simulator.script import Script, ScriptError
from gateway.providers.simulator.server import Simulator


def run(script: Path | None = None, host: str = "127.0.0.1", port: int = 0, seed: int = 0) -> None:
    """Serve the script in a file until SIGINT or SIGTERM; port 0 takes any free one.

    Prints one line when it is ready, `listening on http://127.0.0.1:8100`. A script that cannot be read or an address
    that is taken end in SystemExit with a sentence.
    """
    try:
        simulator = Simulator(Script.load(script) if script else None, host=host, port=port, seed=seed)
        with asyncio.Runner(loop_factory=_fast_loop()) as runner:
            runner.run(_serve(simulator))
    except ScriptError as fault:
        raise SystemExit(f"the script {script} cannot be played:\n{fault}") from None
    except OSError as fault:
        raise SystemExit(f"cannot listen on {host}:{port}: {fault.strerror or fault}") from None
    except KeyboardInterrupt:
        return


async def _serve(simulator: Simulator) -> None:
    stopped = asyncio.Event()
    if sys.platform != "win32":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with simulator:
        sys.stdout.write(f"listening on {simulator.url}\n")
        sys.stdout.flush()
        await stopped.wait()


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415 -- there is none for Windows

    return uvloop.new_event_loop
