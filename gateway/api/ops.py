"""Everything that is not hot, on FastAPI: the list of models, the OpenAPI document, and what is not found."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from gateway.api.envelope import PASSTHROUGH, envelope
from gateway.errors import HedgerowError, MethodNotAllowed, ModelNotFound, NotFound


def build(routes: Iterable[str], created: int, document: dict[str, Any]) -> FastAPI:
    """Return the application; `created` is the Unix time of the models, `document` what `/openapi.json` says."""
    app = FastAPI(docs_url=None, redoc_url=None)
    names = list(routes)
    app.openapi = lambda: document  # type: ignore[method-assign]

    def described(name: str) -> dict[str, Any]:
        return {"id": name, "object": "model", "created": created, "owned_by": "hedgerow"}

    @app.get("/models")
    @app.get("/v1/models")
    async def models(request: Request) -> dict[str, Any]:
        """List the routes that a client may ask for as `model`; Anthropic's clients read another list."""
        if "anthropic-version" in request.headers:
            since = datetime.fromtimestamp(created, UTC).isoformat()
            data = [{"type": "model", "id": name, "display_name": name, "created_at": since} for name in names]
            return {
                "data": data,
                "has_more": False,
                "first_id": names[0] if names else None,
                "last_id": names[-1] if names else None,
            }
        return {"object": "list", "data": [described(name) for name in names]}

    @app.get("/models/{name:path}")
    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """Describe one route."""
        if name not in names:
            raise ModelNotFound(name, names)
        return described(name)

    @app.exception_handler(HedgerowError)
    async def refused(_: Request, error: HedgerowError) -> Response:
        return Response(envelope(error), error.status, dict(error.headers), "application/json")

    @app.exception_handler(HTTPException)
    async def not_served(request: Request, error: HTTPException) -> Response:
        fault: HedgerowError
        path = request.url.path
        if error.status_code == 405:
            allowed = f"{(error.headers or {}).get('allow', 'GET')}, HEAD, OPTIONS"
            if request.method == "OPTIONS":
                return Response(status_code=204, headers={"allow": allowed})
            fault = MethodNotAllowed(_cured(f"{request.method} {path} is not possible.", path), allowed=allowed)
        else:
            fault = NotFound(_cured(f"There is nothing at {path}; GET /openapi.json lists what there is.", path))
        return Response(envelope(fault), fault.status, dict(fault.headers), "application/json")

    return app


def _cured(said: str, path: str) -> str:
    return f"{said} {PASSTHROUGH}" if path.startswith("/v1/") else said
