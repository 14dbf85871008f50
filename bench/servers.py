"""What is measured and what it is measured with: the upstream, the gateway as it is shipped, and nginx as the limit."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path

from bench.processes import Server, free_port, server

_GATEWAY = """
providers:
  up: {{api: openai, base_url: "http://127.0.0.1:{upstream}/v1", concurrency: 10000, responses: true}}
  chat: {{api: openai, base_url: "http://127.0.0.1:{upstream}/v1", concurrency: 10000}}
  anthropic: {{base_url: "http://127.0.0.1:{upstream}", api_key: sk-ant-of-the-bench, concurrency: 10000}}
routes:
  one: {{targets: [up/a], select: first}}
  three: {{targets: [up/a, up/b, up/c], select: majority}}
  over-chat: {{targets: [chat/a], select: first}}
  claude: {{targets: [anthropic/a], select: first}}
  paced: {{targets: [up/paced], select: first}}
  held: {{targets: [up/held], select: first}}
  race: {{targets: [up/late, up/soon], select: first}}
"""
_NGINX = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log {folder}/nginx-access.log;
  client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; scgi_temp_path {folder}; uwsgi_temp_path {folder};
  upstream bench {{ server 127.0.0.1:{upstream}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location = /readyz {{ return 200; }}
    location / {{ proxy_pass http://bench; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


def upstream(folder: Path) -> AbstractContextManager[Server]:
    """Run the upstream; its log goes to the folder."""
    port = free_port()
    return server([sys.executable, "-m", "bench.upstream", str(port)], port, "/", folder / "upstream.log")


def gateway(folder: Path, upstream: Server) -> AbstractContextManager[Server]:
    """Run `hedgerow serve` with everything on; its configuration and its log go to the folder."""
    file, port, metrics_port = folder / "gateway.yaml", free_port(), free_port()
    file.write_text(_GATEWAY.format(upstream=upstream.port), encoding="utf-8")
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(file)]
    command += ["--port", str(port), "--metrics-port", str(metrics_port)]
    return server(command, port, "/readyz", folder / f"gateway-{port}.log")


def nginx(folder: Path, upstream: Server) -> AbstractContextManager[Server]:
    """Run nginx with one worker, an access log, and connections kept alive on both sides."""
    file, port = folder / "nginx.conf", free_port()
    file.write_text(_NGINX.format(folder=folder, upstream=upstream.port, port=port), encoding="utf-8")
    return server(["nginx", "-c", str(file), "-p", str(folder)], port, "/readyz", folder / "nginx.log")
