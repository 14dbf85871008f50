"""Run the gateway: sockets first, so that a taken port is one clear sentence, then one process or several workers."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from pathlib import Path

from gateway.serving.configuration import Configuration
from gateway.serving.descriptors import raise_limit
from gateway.serving.listening import Addresses, CannotServe, listen
from gateway.serving.options import Options

__all__ = ["Addresses", "CannotServe", "Options", "serve"]


def serve(file: Path | None, environ: Mapping[str, str], addresses: Addresses, options: Options) -> None:
    """Serve until SIGINT or SIGTERM; without a file, what the environment offers.

    Raises:
        ConfigError: the configuration cannot be used.
        CannotServe: a port is taken, the address is open to others while no key is asked for, or no worker starts.
    """
    configuration = Configuration(file, environ, addresses)
    raise_limit()
    listener = listen(addresses.host, addresses.port, "--port")
    listen(addresses.metrics_host, addresses.metrics_port, "--metrics-port").close()
    try:
        if options.workers == 1:
            gc.disable()  # until the server is ready: start-up makes much that stays, and nothing worth looking for
            from gateway.serving.alone import run  # noqa: PLC0415 -- the parent of workers needs no web server

            run(configuration, listener, addresses, options)
        else:
            from gateway.serving.supervisor import supervise  # noqa: PLC0415

            supervise(configuration, listener, addresses, options)
    finally:
        listener.close()
