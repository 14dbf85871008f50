"""What a sound configuration becomes: every key of the file, and every default where it is not written."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import pytest

import fanin
from gateway.config import ConfigError, load, parse
from gateway.domain import Launch, Map, Route
from gateway.engine.plan import describe
from gateway.policies.description import describe as described
from gateway.settings import ProviderSettings, Secret, Settings

KEY = "Zq8_vR2mXw5-tB9nLc4yKd7jHf3gPs6a"


def route_of(settings: str, targets: str = "[local/a, local/b, local/c]") -> Route:
    """Return the route that these settings make, on a provider that needs no key."""
    return parse(
        f"providers: {{local: {{base_url: 'http://h/v1'}}}}\nroutes: {{r: {{targets: {targets}, {settings}}}}}", {}
    ).routes["r"]


def provider_of(text: str, **environ: str) -> ProviderSettings:
    """Return the one provider of a configuration."""
    (provider,) = parse(f"providers:\n  {text}\nadhoc_routes: true", environ).providers.values()
    return provider


def test_the_smallest_file_gets_sensible_limits() -> None:
    """All targets at once, the first answer, two minutes in all, one for each attempt, one retry, no key asked for."""
    settings = parse("providers: {vllm: {}}\nroutes: {r: {targets: [vllm/a, vllm/b]}}", {})
    route = settings.routes["r"]
    assert (route.launch, route.deadline, route.select.name, route.select.live) == (Launch(2), 120.0, "first", True)
    assert [(t.name, t.provider, t.model, t.timeout, t.retries, t.weight, t.priority) for t in route.targets] == [
        ("vllm/a", "vllm", "a", 60.0, 1, 1.0, 0),
        ("vllm/b", "vllm", "b", 60.0, 1, 1.0, 1),
    ]
    assert (settings.adhoc, settings.keys, settings.notes) == (False, {}, ())


@pytest.mark.parametrize(
    ("written", "launch"),
    [
        ("all", Launch(3, math.inf)),
        ("hedge", Launch(1, 2.0, adaptive=True, hedges=1)),
        ("fallback", Launch(1, math.inf)),
        ("{initial: 2, stagger: 800ms}", Launch(2, 0.8)),
        ("{initial: 2}", Launch(2, math.inf)),
        ("{stagger: 1m30s}", Launch(1, 90.0)),
        ("{initial: 3, stagger: never}", Launch(3, math.inf)),
        ("{stagger: auto}", Launch(1, 2.0, adaptive=True, hedges=1)),
        ("{initial: 2, stagger: auto, hedges: 2}", Launch(2, 2.0, adaptive=True, hedges=2)),
        ("{stagger: 1s, hedges: 1}", Launch(1, 1.0, hedges=1)),
    ],
)
def test_race_hedge_fallback_and_escalation_are_two_numbers(written: str, launch: Launch) -> None:
    """Every launch is how many start at once and how long until the next."""
    assert route_of(f"launch: {written}").launch == launch


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("majority", "majority"),
        ("{majority: {key: number, agree: 2}}", "majority"),
        ("[majority, priority]", "majority | priority"),
        ("{defer: first}", "defer(first)"),
        ("{quorum: {k: 3, of: majority}}", "quorum(3, majority)"),
        ("{weighted: {weights: {local/a: 2}}}", "weighted"),
    ],
)
def test_a_selector_is_a_name_options_or_a_chain(written: str, name: str) -> None:
    """Whatever `select` holds is what `fanin.build` makes of it."""
    rule = route_of(f"select: {written}, on_abstain: fail").select
    assert isinstance(rule, fanin.Rule)
    assert rule.name == name


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ("select: majority", "majority | priority"),
        ("select: majority, on_abstain: priority", "majority | priority"),
        ("select: majority, on_abstain: fail", "majority"),
        ("select: first", "first"),
    ],
)
def test_a_selector_that_abstains_leaves_the_decision_to_the_priority(settings: str, name: str) -> None:
    """Unless the route says that it is an error then."""
    assert route_of(settings).select.name == name


def test_a_target_has_its_own_prompt_params_timeout_and_weight() -> None:
    """What a target does not say, its route says for it."""
    one, other = route_of(
        "timeout: 5s, retries: 0, deadline: 10s",
        "[{model: local/m, name: lawyer, prompt: Hm., params: {temperature: 0.2}, timeout: 8s, weight: 2}, local/m]",
    ).targets
    assert (one.name, one.prompt, one.params, one.timeout, one.weight) == (
        "lawyer",
        "Hm.",
        {"temperature": 0.2},
        8.0,
        2.0,
    )
    assert (other.name, other.prompt, other.params, other.timeout, other.weight) == ("local/m", None, {}, 5.0, 1.0)
    assert [one.retries, other.retries] == [0, 0]


def test_the_default_timeout_is_never_longer_than_the_deadline() -> None:
    """Nobody has to lower two values to lower one."""
    assert {target.timeout for target in route_of("deadline: 20s").targets} == {20.0}


def test_only_targets_that_others_stand_behind_are_hurried_to_their_first_words() -> None:
    """Fifteen seconds where somebody else would be asked next; nobody gains by giving up the last one. Written wins."""
    first_tokens = [[t.first_token for t in route_of(f"launch: {launch}").targets] for launch in ("fallback", "all")]
    assert first_tokens == [[15.0, 15.0, math.inf], [math.inf] * 3]
    written = route_of("first_token: 4s, idle: 1m", "[{model: local/a, first_token: 2s, idle: 10s}, local/b]").targets
    assert [(t.first_token, t.idle) for t in written] == [(2.0, 10.0), (4.0, 60.0)]
    assert [t.idle for t in route_of("").targets] == [30.0] * 3


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        ("[local/a, local/a, local/a]", ["local/a", "local/a#2", "local/a#3"]),
        ("[local/a, {model: local/b, name: local/a}]", ["local/a#2", "local/a"]),
        ("[{model: local/a, name: 'local/a#2'}, local/a, local/a]", ["local/a#2", "local/a", "local/a#3"]),
    ],
)
def test_names_of_targets_are_unique_in_a_route(targets: str, names: list[str]) -> None:
    """The written names stand, the others go around them."""
    assert [target.name for target in route_of("retries: 0", targets).targets] == names


def test_a_model_name_is_all_after_the_first_slash() -> None:
    """Slashes, colons and spaces belong to the upstream's name and are sent as they are."""
    models = [
        t.model
        for t in route_of("retries: 0", "[local/qwen3:8b, local/a/b/c, {model: 'local/my model', name: x}]").targets
    ]
    assert models == ["qwen3:8b", "a/b/c", "my model"]


def test_a_route_may_be_called_like_a_target() -> None:
    """Clients keep the model name they have always sent, and get the route."""
    settings = parse("providers: {vllm: {}}\nroutes: {vllm/qwen3: {targets: [vllm/qwen3, vllm/other]}}", {})
    assert list(settings.routes) == ["vllm/qwen3"]


@pytest.mark.parametrize(
    ("text", "api", "base_url"),
    [
        ("openai: {api_key: k}", "openai", "https://api.openai.com/v1"),
        ("groq: {api_key: k}", "openai", "https://api.groq.com/openai/v1"),
        ("groq-eu: {api: groq, api_key: k}", "openai", "https://api.groq.com/openai/v1"),
        ("ollama: {}", "openai", "http://127.0.0.1:11434/v1"),
        ("house: {base_url: 'http://10.0.0.7:8000/v1/'}", "openai", "http://10.0.0.7:8000/v1"),
        ("openai: {base_url: 'http://10.0.0.7:8000/v1'}", "openai", "http://10.0.0.7:8000/v1"),
        ("anthropic: {api_key: k}", "anthropic", None),
        ("claude: {api: anthropic, api_key: k}", "anthropic", None),
        ("aws: {api: bedrock}", "bedrock", None),
        ("azure: {api_key: k, base_url: 'https://x.openai.azure.com/'}", "openai", "https://x.openai.azure.com/openai/v1"),
        ("azure: {api_key: k, base_url: 'https://x.openai.azure.com/openai/v1/'}", "openai", "https://x.openai.azure.com/openai/v1"),
    ],
)  # fmt: skip
def test_a_provider_is_known_by_its_name_its_api_or_its_address(text: str, api: str, base_url: str | None) -> None:
    """What our own client serves is `openai`, everything else is litellm's name."""
    provider = provider_of(text)
    assert (provider.api, provider.base_url) == (api, base_url)


def test_azure_gets_its_own_header_and_no_bearer() -> None:
    """An `api_version` becomes the query parameter that Azure reads."""
    provider = provider_of("azure: {api_key: k1, base_url: 'https://x.openai.azure.com', api_version: preview}")
    assert provider.api_key is None
    assert (dict(provider.headers), dict(provider.query)) == ({"api-key": "k1"}, {"api-version": "preview"})


def test_region_and_project_get_the_names_that_litellm_has_for_them() -> None:
    """One word in the file for what every cloud calls differently."""
    assert dict(provider_of("bedrock: {region: eu-west-1}").options) == {"aws_region_name": "eu-west-1"}
    vertex = provider_of("vertex_ai: {region: eu, project: p, options: {vertex_credentials: c}}")
    assert dict(vertex.options) == {"vertex_credentials": "c", "vertex_project": "p", "vertex_location": "eu"}


def test_headers_query_and_concurrency_are_kept() -> None:
    """Header names are lower case, as HTTP does not mind and dictionaries do."""
    provider = provider_of("h: {base_url: 'http://h', headers: {X-Team: ' a '}, query: {v: '1'}, concurrency: 3}")
    assert (dict(provider.headers), dict(provider.query), provider.concurrency) == ({"x-team": "a"}, {"v": "1"}, 3)


def test_a_key_loses_the_newline_of_the_file_it_came_from() -> None:
    """A mounted secret ends with a line break more often than not."""
    assert provider_of('openai: {api_key: "${K}"}', K="sk-1\n").api_key == Secret("sk-1")


def test_client_keys_are_kept_as_their_digests_only() -> None:
    """The plain key is nowhere in the settings."""
    settings = parse('providers: {vllm: {}}\nadhoc_routes: true\nkeys: {web: "${K}"}', {"K": f"{KEY}\n"})
    assert settings.keys == {"web": hashlib.sha256(KEY.encode()).hexdigest()}


def test_variables_may_stand_for_numbers_and_parts_of_values() -> None:
    """The environment holds only text; where a number is expected it is read as one."""
    text = """
providers: {h: {base_url: "http://${HOST:-localhost}:${PORT}/v1", concurrency: "${CALLS}"}}
routes:
  r: {targets: [{model: h/a, weight: "${WEIGHT}", prompt: "costs $$ and $${this}"}], deadline: "${D:-3s}"}
adhoc_routes: ${ADHOC}
"""
    settings = parse(text, {"PORT": "81", "CALLS": "9", "WEIGHT": "1.5", "ADHOC": "true"})
    assert (settings.providers["h"].base_url, settings.providers["h"].concurrency) == ("http://localhost:81/v1", 9)
    (target,) = settings.routes["r"].targets
    assert (target.weight, target.prompt, settings.routes["r"].deadline) == (1.5, "costs $$ and ${this}", 3.0)
    assert settings.adhoc is True


def test_a_variable_cannot_add_to_the_document() -> None:
    """Values are put in after the YAML is read."""
    provider = provider_of('h: {base_url: "http://h", headers: {x: "${X}"}}', X='", y: "z')
    assert dict(provider.headers) == {"x": '", y: "z'}


def test_scalars_are_read_as_yaml_1_2_has_them() -> None:
    """No Norway problem: `no` is a name, a date is text, and `0o17` is not seven and eight."""
    (target,) = route_of(
        "retries: 007", "[{model: local/a, params: {a: no, b: 2024-10-21, c: 12:30, d: 1e3, e: ~, f: false}}]"
    ).targets
    assert target.params == {"a": "no", "b": "2024-10-21", "c": "12:30", "d": 1000.0, "e": None, "f": False}
    assert target.retries == 7


def test_anchors_aliases_and_merge_keys_work() -> None:
    """Routes that differ in one value share the rest, and a route's own keys win."""
    text = """
providers: {vllm: {}}
routes:
  one: &common {targets: [vllm/a, vllm/b], deadline: 5s, select: majority}
  two: {<<: *common, select: first}
"""
    routes = parse(text, {}).routes
    assert [routes["one"].deadline, routes["two"].deadline] == [5.0, 5.0]
    assert [routes["one"].select.name, routes["two"].select.name] == ["majority | priority", "first"]


def test_of_several_merged_mappings_the_first_wins() -> None:
    """As YAML's merge key has it (yaml.org/type/merge.html)."""
    text = """
providers: {vllm: {}}
routes:
  one: &one {targets: [vllm/a], deadline: 1s}
  two: &two {targets: [vllm/b], deadline: 2s, retries: 2}
  both: {<<: [*one, *two]}
"""
    both = parse(text, {}).routes["both"]
    assert (both.deadline, both.targets[0].model, both.targets[0].retries) == (1.0, "a", 2)


@pytest.mark.parametrize(
    ("text", "notes"),
    [
        ("providers: {vllm: {}, ollama: {}}\nroutes: {r: {targets: [vllm/a]}}", ("No route asks ollama.",)),
        ("providers: {vllm: {}, ollama: {}}\nadhoc_routes: true", ()),
        (
            "providers: {h: {base_url: 'http://gpu.lan/v1', api_key: k}}\nadhoc_routes: true",
            ("The key of provider h goes to gpu.lan unencrypted: use https there.",),
        ),
        ("providers: {h: {base_url: 'http://gpu.lan/v1'}}\nadhoc_routes: true", ()),
        ("providers: {h: {base_url: 'http://127.0.0.1/v1', api_key: k}}\nadhoc_routes: true", ()),
    ],
)
def test_notes_say_what_is_allowed_but_hardly_meant(text: str, notes: tuple[str, ...]) -> None:
    """They are for the operator; the gateway starts all the same."""
    assert parse(text, {}).notes == notes


@pytest.mark.parametrize(
    ("mode", "api_key", "told"),
    [(0o644, "sk-literal", True), (0o640, "sk-literal", False), (0o600, "sk-literal", False), (0o644, "${K}", False)],
)
def test_a_file_with_keys_in_it_that_everybody_can_read_is_noted(
    tmp_path: Path, mode: int, api_key: str, *, told: bool
) -> None:
    """The note names the places and the cure, not the keys; with variables in place of keys there is no note."""
    path = tmp_path / "hedgerow.yaml"
    path.write_text(f'providers: {{openai: {{api_key: "{api_key}", headers: {{x-title: t}}}}}}\nadhoc_routes: true\n')
    path.chmod(mode)
    note = (
        f"{path} holds credentials (providers.openai.api_key) and every user of this machine can read it: "
        f"`chmod 640 {path}`, or write variables such as ${{OPENAI_API_KEY}} instead."
    )
    assert load(path, {"K": "k"}).notes == ((note,) if told else ())


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Editors on Windows write one."""
    path = tmp_path / "hedgerow.yaml"
    path.write_bytes(b"\xef\xbb\xbfproviders: {vllm: {}}\r\nadhoc_routes: true\r\n")
    assert isinstance(load(path, {}), Settings)


def test_only_openai_s_own_address_is_known_to_serve_responses() -> None:
    """Everybody else says so; what OpenAI's name stands for elsewhere is not taken for it."""
    settings = parse(
        """
providers:
  openai: {api_key: k}
  behind: {api: openai, api_key: k, base_url: "http://h/v1"}
  own: {base_url: "http://h/v1", responses: true}
  off: {api: openai, api_key: k, responses: false}
  anthropic: {api_key: k}
adhoc_routes: true
""",
        {},
    )
    assert {name: provider.responses for name, provider in settings.providers.items()} == {
        "openai": True,
        "behind": False,
        "own": True,
        "off": False,
        "anthropic": False,
    }


def test_a_map_splits_by_paragraphs_and_joins_the_answers_by_default() -> None:
    """Every key of it has a default; each part begins with one target; another selector may reduce."""
    route = route_of("launch: {map: {}}")
    assert (route.launch, route.select.name) == (Launch(1, math.inf, Map("paragraphs", 4000, 8, 32)), "concat")
    written = route_of("launch: {initial: 2, map: {by: characters, size: 9, parallel: 3, most: 4}}, select: collect")
    assert (written.launch, written.select.name) == (Launch(2, math.inf, Map("characters", 9, 3, 4)), "collect")


def test_explain_tells_how_a_route_maps_and_what_that_costs() -> None:
    """Four parts of three targets, each with one retry, are at most 24 calls."""
    text = describe(route_of("launch: {map: {most: 4}}"))
    assert "parts of up to 4000 characters by paragraphs: at most 4 parts, 8 at a time" in " ".join(text.split())
    assert "at most 24 with every retry" in text


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("{map: {by: pages}}", "launch.map.by: "),
        ("{map: {most: 0}}", "launch.map.most: "),
        ("{map: {sise: 4}}", "launch.map.sise: "),
        ("{map: 3}", "launch.map: "),
    ],
)
def test_a_wrong_map_is_told_by_its_path(written: str, told: str) -> None:
    """As every other fault is."""
    with pytest.raises(ConfigError, match=f"routes.r.{told}"):
        route_of(f"launch: {written}")


def test_explain_tells_what_guards_a_route_s_calls() -> None:
    """Breaker, budget, hedges, room and keys, with the numbers that are in force; hedges only where there are any."""
    hedged, voted = (described(route_of(f"launch: {launch}"), {"local": 12}) for launch in ("hedge", "all"))
    told = " ".join(hedged.split())
    assert "passed over after 5 failures in a row, or when 50% of at least 10 calls in 30 s fail" in told
    assert "3 under way, or 20% of its calls" in told
    assert "at most 1 a request, each with a place in the budget; 5% of the route's requests and 5 more" in told
    assert "calls to local 12; fewer while a provider limits" in told
    assert "hedges  " not in voted


def test_a_judge_counts_the_parts_that_it_may_have_to_read() -> None:
    """A knock-out of 32 parts would be more calls than one request may make."""
    with pytest.raises(ConfigError, match="at most 16 calls"):
        route_of("launch: {map: {}}, select: [{judge: {by: local/j, how: pairwise}}, priority]")


def test_what_is_not_served_goes_nowhere_unless_a_provider_is_named() -> None:
    """Off by default; a provider that only passes on is one that is used, and litellm is never asked to."""
    text = "providers: {vllm: {}, openai: {api_key: x}}\nroutes: {r: {targets: [vllm/a]}}\n"
    assert (parse(text, {}).passthrough, parse(text, {}).default_routes) == (None, {})
    settings = parse(f"{text}passthrough: openai\ndefault_routes: {{moderations: r}}", {})
    assert (settings.passthrough, settings.default_routes) == ("openai", {"moderations": "r"})
    assert settings.notes == ()


def test_a_route_that_mixes_embedding_models_is_noted_before_the_first_request() -> None:
    """Where the names tell; `same_as` says that they are one."""
    text = "providers: {vllm: {}}\nroutes: {e: {targets: [vllm/text-embedding-3-small, {model: vllm/embed-v4%s}]}}"
    (note,) = parse(text.replace("%s", ""), {}).notes
    assert "Route e mixes embedding models (embed-v4, text-embedding-3-small)" in note
    assert parse(text.replace("%s", ", same_as: text-embedding-3-small"), {}).notes == ()
