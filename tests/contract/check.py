"""Hold a running gateway against the OpenAPI document that it serves: thousands of requests, right and wrong.

`make contract` runs it with schemathesis from an environment of its own (requirements.txt beside this file). A fault is
a 5xx, a status, content type or body that the document does not name, or a method that is not refused as documented.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import subprocess
import sys

from gateway import config
from gateway.app import Gateway
from gateway.observe.log import Log
from gateway.providers.simulator import Simulator
from gateway.serving.loopback import serving

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "unsupported_method,use_after_free"
)
ROUTES = """
routes:
  one: {targets: [sim/a]}
  race: {targets: [sim/a, sim/b], select: first}
"""


async def check(schemathesis: str, examples: int) -> int:
    """Start a simulator and a gateway, let schemathesis loose on it, and return its exit code."""
    async with Simulator() as sim:
        settings = config.parse(f"providers: {{sim: {{api: openai, base_url: '{sim.base_url}'}}}}\n{ROUTES}", {})
        log = io.BytesIO()
        async with serving(Gateway(settings, Log(log)).asgi) as url:
            command = [schemathesis, "run", f"{url}/openapi.json", "--url", url, "--checks", CHECKS]
            command += ["--max-examples", str(examples), "--phases", "examples,coverage,fuzzing", "--seed", "1"]
            command += ["--generation-database", "none", "--suppress-health-check", "all", "--max-failures", "20"]
            status = await asyncio.to_thread(lambda: subprocess.run(command, check=False).returncode)
    shutil.rmtree(".schemathesis", ignore_errors=True)  # its notes of earlier runs
    faults = [line for line in log.getvalue().splitlines() if b"traceback" in line]
    for line in faults[:5]:
        sys.stdout.write(f"{line.decode()}\n")
    answered = log.getvalue().count(b"request.finished")
    sys.stdout.write(f"{answered} requests, {len(faults)} faults of the gateway's own in its log\n")
    return status or bool(faults)


if __name__ == "__main__":
    sys.exit(asyncio.run(check(sys.argv[1], int(sys.argv[2]))))
