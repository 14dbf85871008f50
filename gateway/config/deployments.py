"""One deployment of a LiteLLM proxy's model list → a provider and a target of ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gateway.config import durations
from gateway.config.catalog import LITELLM, OURS, PROFILES, PROJECT, REGION, Profile
from gateway.config.schema.terms import LONGEST_DEADLINE, NAME

_RENAMED = {
    "azure_text": "azure",
    "cohere_chat": "cohere",
    "custom_openai": "openai",
    "fireworks_ai": "fireworks",
    "hosted_vllm": "vllm",
    "litellm_proxy": "openai",
    "llamafile": "openai",
    "lm_studio": "openai",
    "nvidia_nim": "nvidia",
    "ollama_chat": "ollama",
    "openai_like": "openai",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "vertex_ai_beta": "vertex_ai",
}
"""LiteLLM's names of providers that have another one here."""
_BARE = (
    (r"(?:ft:)?(?:gpt|chatgpt|o\d|text-|dall-e|whisper|tts|omni-|davinci|babbage|codex)", "openai"),
    (r"claude", "anthropic"),
    (r"gemini", "vertex_ai"),
    (r"command", "cohere"),
)
"""What LiteLLM makes of a model without a provider before it."""
_ADDRESS = ("api_base", "base_url")
_COSTS = ("input_cost_per_token", "output_cost_per_token")
_REACHED = frozenset(
    {
        *_ADDRESS, *_COSTS, "model", "api_key", "api_version", "organization", "extra_headers", "timeout", "order",
        "stream_timeout", "drop_params", "additional_drop_params",
        "custom_llm_provider", "litellm_credential_name", "max_parallel_requests", "region_name",
    }
)  # fmt: skip
"""The parameters of a deployment that are looked at one by one."""
NOT_OURS = {
    "weight": "targets are asked in the order in which they are written, the next one when one fails",
    "max_retries": "`retries` is a route's",
    "num_retries": "`retries` is a route's",
    "rpm": "calls a minute are not counted; `concurrency` limits the calls in flight",
    "tpm": "tokens a minute are not counted; `concurrency` limits the calls in flight",
    "tags": "targets are not chosen by tags; make a route for each",
    "mock_response": "`hedgerow simulate` is a provider that answers by a script",
    "cache": "answers are not cached",
    "cache_params": "answers are not cached",
    "callbacks": "metrics, logs and traces are built in (docs/observability.md)",
    "success_callback": "metrics, logs and traces are built in (docs/observability.md)",
    "failure_callback": "metrics, logs and traces are built in (docs/observability.md)",
    "database_url": "there is no database: clients' keys stand under `keys`",
    "store_model_in_db": "there is no database: all models stand in this file",
    "routing_strategy": "targets are asked in the order in which they are written, the next one when one fails; "
    "`launch: hedge` or `all` asks several",
    "allowed_fails": "a target that keeps failing is passed over by itself (docs/reliability.md)",
    "cooldown_time": "a target that keeps failing is passed over by itself (docs/reliability.md)",
    "retry_policy": "what is retried depends on the failure (docs/reliability.md); `retries` says how often",
    "guardrails": "there are none; `valid` holds answers against checks (docs/selectors.md)",
    "mcp_servers": "tools are the client's and the providers' matter",
    "set_verbose": "logs are one line a request",
    "json_logs": "logs are JSON lines",
    "environment_variables": "set them in the environment that `hedgerow serve` runs in",
    "include": "import each file by itself",
}
_CLOUD = ("aws_", "azure_", "client_", "tenant_", "vertex_", "watsonx_")
_VARIABLE = re.compile(r"os\.environ/([A-Za-z_]\w*)")
_SHORTEST = 0.001
_NO_KEY = frozenset({"", "none", "null", "not-needed"})


class Deployments:
    """Takes the deployments in one after the other; `providers` are those that they need.

    `note` hears `path, what became of it`; `credentials` are the list that deployments may name one of.
    """

    def __init__(self, note: Callable[[str, str], None], credentials: list[Mapping[str, Any]], *, drops: bool) -> None:
        self._note, self._credentials, self._drops = note, credentials, drops
        self.providers: dict[str, dict[str, Any]] = {}
        self.wildcard = False
        """Whether one of them stands for any model."""

    def take(self, path: str, deployment: Mapping[str, Any]) -> tuple[str, float, Any] | None:
        """Return the group of a deployment, its place there and its target; None where it cannot be one."""
        name, given = deployment.get("model_name"), deployment.get("litellm_params")
        if not isinstance(name, str) or not isinstance(given, Mapping) or not isinstance(given.get("model"), str):
            self._note(path, "left out: it has no model_name or no litellm_params.model")
            return None
        path = f"{path}.litellm_params"
        params = {**self._credential(path, given), **given}
        found = _provider_of(params)
        if found is None:
            self._note(f"{path}.model", "left out: its provider is not known here")
            return None
        api, model = found
        wild = "*" in name or "*" in model
        if not wild and not re.fullmatch(NAME, name):
            self._note(path, "left out: its model_name has spaces, commas or other characters that no route may have")
            return None
        provider = self._provider(path, api, params)
        if wild:
            self.wildcard = True
            self._note(
                f"{path}.model", f"a wildcard is no route; clients may ask for `{provider}/MODEL` (adhoc_routes)"
            )
            return None
        target: dict[str, Any] = {"model": f"{provider}/{model}", **dict(self._limits(path, params))}
        target |= self._told(path, params, mapping(deployment.get("model_info")))
        return name, number(params.get("order")) or 0.0, target if len(target) > 1 else target["model"]

    def _credential(self, path: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        name = params.get("litellm_credential_name")
        if name is None:
            return {}
        for credential in self._credentials:
            if credential.get("credential_name") == name:
                return mapping(credential.get("credential_values"))
        self._note(f"{path}.litellm_credential_name", "is not in the credential_list")
        return {}

    def _provider(self, path: str, api: str, params: Mapping[str, Any]) -> str:
        """Return the name of the provider that a deployment is asked of; those that are the same are one."""
        profile = PROFILES.get(api, Profile(api))
        settings: dict[str, Any] = {}
        base = next((base for name in _ADDRESS if (base := text(params.get(name)))), None)
        if base is not None:
            settings["base_url"] = _address(api, base)
        key = text(params.get("api_key"))
        if key is not None and key.lower() not in _NO_KEY:
            settings["api_key"] = key
        elif profile.keys and base is None:
            settings["api_key"] = f"${{{profile.keys[0]}}}"  # where LiteLLM looks by itself
        headers = {name: text(value) for name, value in mapping(params.get("extra_headers")).items()}
        if organization := text(params.get("organization")):
            headers["openai-organization"] = organization
        if headers:
            settings["headers"] = headers
        if api == "azure" and "api_version" in params:
            self._note(f"{path}.api_version", "not needed: Azure's v1 API is asked")
        elif version := text(params.get("api_version")):
            settings["api_version"] = version
        if whole(most := params.get("max_parallel_requests"), 1, 100_000):
            settings["concurrency"] = most
        return self._named(api, settings | self._cloud(path, profile, params))

    def _cloud(self, path: str, profile: Profile, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return what litellm is told of a provider that goes through it."""
        settings: dict[str, Any] = {}
        options: dict[str, Any] = {}
        for name, value in params.items():
            if not name.startswith(_CLOUD):
                continue
            if profile.api in OURS:
                self._note(f"{path}.{name}", "not carried over: our own client asks this provider by its api_key")
            elif name == REGION.get(profile.api):
                settings["region"] = text(value)
            elif name == PROJECT.get(profile.api):
                settings["project"] = text(value)
            else:
                options[name] = plain(value)
        return {**settings, "options": options} if options else settings

    def _named(self, api: str, settings: dict[str, Any]) -> str:
        """Return the name of a provider with these settings, an old one or a new one."""
        for name, known in self.providers.items():
            if known == {"api": api, **settings} or (name == api and known == settings):
                return name
        if api not in self.providers:
            self.providers[api] = settings
            return api
        name = f"{api}-{1 + sum(known.get('api', other) == api for other, known in self.providers.items())}"
        self.providers[name] = {"api": api, **settings}
        return name

    def _limits(self, path: str, params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for theirs, ours in (("timeout", "timeout"), ("stream_timeout", "first_token")):
            if theirs in params:
                limit = duration(params[theirs])
                if limit is None:
                    self._note(f"{path}.{theirs}", "not carried over: expected a number of seconds")
                else:
                    yield ours, limit

    def _told(self, path: str, params: Mapping[str, Any], info: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is said about a target's fields, its price and its window."""
        told: dict[str, Any] = {}
        dropped = params.get("additional_drop_params")
        if isinstance(dropped, list):
            told["drop"] = [name for name in dropped if isinstance(name, str)]
        if params.get("drop_params", self._drops) is True:
            told["on_unsupported"] = "drop"
        costs = [cost for cost in map(number, (params.get(n, info.get(n)) for n in _COSTS)) if cost is not None]
        if len(costs) == len(_COSTS):
            told["price"] = {way: round(cost * 1e6, 9) for way, cost in zip(("input", "output"), costs, strict=True)}
        if whole(info.get("max_input_tokens"), 1, 10**9):
            told["context"] = info["max_input_tokens"]
        defaults = {}
        for name, value in params.items():
            if name in NOT_OURS:
                self._note(f"{path}.{name}", f"not carried over: {NOT_OURS[name]}")
            elif name not in _REACHED and not name.startswith(_CLOUD):
                defaults[name] = plain(value)
        return {**told, "defaults": defaults} if defaults else told


def _provider_of(params: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the provider's api as we call it, and the model's name there."""
    model: str = params["model"]
    prefix, slash, rest = model.partition("/")
    given = params.get("custom_llm_provider")
    if isinstance(given, str):
        prefix, rest = given, rest if slash and prefix == given else model
    elif not slash:
        prefix, rest = next((api for pattern, api in _BARE if re.match(pattern, model)), ""), model
    api = _RENAMED.get(prefix, prefix)
    if api in PROFILES or api in LITELLM:
        return api, rest
    return ("openai", rest if slash else model) if any(params.get(name) for name in _ADDRESS) else None


def _address(api: str, base: str) -> str:
    """Return where the API begins. LiteLLM wants Ollama's address without the path, we want all with it."""
    base = base.rstrip("/")
    return f"{base}/v1" if api == "ollama" and not base.endswith("/v1") else base


def text(value: Any) -> str | None:
    """Return a text, a variable of the environment in our spelling."""
    if not isinstance(value, str):
        return None
    return _VARIABLE.sub(r"${\1}", value) if "os.environ/" in value else value.replace("${", "$${")


def plain(value: Any) -> Any:
    """Return any value with its variables in our spelling."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return text(value) if isinstance(value, str) else value


def mapping(value: Any) -> dict[str, Any]:
    """Return a mapping, empty where the value is none."""
    return {str(name): inner for name, inner in value.items()} if isinstance(value, Mapping) else {}


def mappings(value: Any) -> list[Mapping[str, Any]]:
    """Return those of a list that are mappings."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def whole(value: Any, least: int, most: int) -> bool:
    """Whether a value is a whole number between two bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def number(value: Any) -> float | None:
    """Return a number, None for anything else; true and false are none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def duration(value: Any) -> str | None:
    """Return a number of seconds as we write it, and no more than we take; None for anything else."""
    seconds = number(value)
    return durations.written(min(seconds, LONGEST_DEADLINE)) if seconds is not None and seconds >= _SHORTEST else None
