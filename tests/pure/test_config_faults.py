"""Every sentence that a wrong configuration can get, word for word, with its line and all of them at once."""

# ruff: noqa: E501 -- a sentence that is tested word for word stands on one line

from __future__ import annotations

from pathlib import Path

import pytest

from fanin.faults import listed
from fanin.registry import SELECTORS
from gateway.config import ConfigError, Fault, load, parse

KEY = "Zq8_vR2mXw5-tB9nLc4yKd7jHf3gPs6a"
ENVIRON = {
    "OPENAI_API_KEY": "sk-test",
    "EMPTY": "",
    "NUMBER": "7",
    "WORD": "seven",
    "KEY": KEY,
    "HUGE": "1e999",
    "LONG": "9" * 5000,
    "TYPO": "hegde",
}

PROVIDERS = """\
providers:
  openai: {api_key: "${OPENAI_API_KEY}"}
  local: {base_url: "http://127.0.0.1:8000/v1"}
"""


def faults_of(text: str) -> list[str]:
    """Return the sentences about a configuration, with `line: ` before each."""
    with pytest.raises(ConfigError) as refused:
        parse(text, ENVIRON, "hedgerow.yaml")
    lines = str(refused.value).split("\n")
    assert len(lines) == len(refused.value.faults)
    assert all(line.startswith("hedgerow.yaml:") for line in lines)
    return [line.removeprefix("hedgerow.yaml:") for line in lines]


def fault_of(text: str) -> str:
    """Return the only sentence about a configuration."""
    (fault,) = faults_of(text)
    return fault


def in_route(*lines: str) -> str:
    """Return a configuration whose route `r` has two targets and these lines, the first of them in line 7."""
    body = "".join(f"    {line}\n" for line in lines)
    return f"{PROVIDERS}routes:\n  r:\n    targets: [openai/gpt-5-mini, local/qwen3]\n{body}"


def test_every_fault_of_a_file_is_told_at_once_in_the_order_of_its_lines() -> None:
    """One run shows all there is to mend, whatever kind of mistake each is."""
    text = """\
providers:
  openai: {api_key: "${OPENAI_KEY}", concurency: 4}
  local: {base_url: "127.0.0.1:8000"}
routes:
  reliable:
    targets: [opnai/gpt-5, local/qwen3]
    lauch: all
    deadline: 20
    select: {majority: {agree: 3}}
adhoc_routes: yes
"""
    with pytest.raises(ConfigError) as refused:
        parse(text, {}, "hedgerow.yaml")
    assert (
        str(refused.value)
        == """\
hedgerow.yaml:2: providers.openai.api_key: the variable OPENAI_KEY is not set, expected it in the environment, or ${OPENAI_KEY:-default}
hedgerow.yaml:2: providers.openai.concurency: unknown key, expected one of api, base_url, api_key, headers, query, concurrency, responses, ca_certificate, api_version, region, project, options; did you mean `concurrency`?
hedgerow.yaml:3: providers.local.base_url: found "127.0.0.1:8000", expected an address such as http://127.0.0.1:8000/v1, without user, password and query
hedgerow.yaml:6: routes.reliable.targets[0]: found "opnai/gpt-5", expected a provider of this file before the slash (openai, local); did you mean `openai`?
hedgerow.yaml:7: routes.reliable.lauch: unknown key, expected one of targets, launch, select, on_abstain, deadline, timeout, standby, buffer, stream, first_token, idle, on_filtered, reliability, retries; did you mean `launch`?
hedgerow.yaml:8: routes.reliable.deadline: found 20, expected a duration such as "20s"
hedgerow.yaml:9: routes.reliable.select.majority.agree: found 3, expected at most the number of targets, 2
hedgerow.yaml:10: adhoc_routes: found "yes", expected true or false"""
    )
    assert refused.value.faults[4] == Fault(
        path="routes.reliable.lauch",
        fault="unknown key",
        expected="one of targets, launch, select, on_abstain, deadline, timeout, standby, buffer, stream, first_token, idle, on_filtered, reliability, retries",
        cure="did you mean `launch`?",
        line=7,
    )


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["launch: hegde"], 'launch: found "hegde", expected all, hedge, fallback or a mapping such as {initial: 2, stagger: 800ms}; did you mean `hedge`?'),
        (["launch: ${TYPO}"], "launch: found text (not shown), expected all, hedge, fallback or a mapping such as {initial: 2, stagger: 800ms}"),
        (["launch: [all]"], "launch: found a list, expected all, hedge, fallback or a mapping such as {initial: 2, stagger: 800ms}"),
        (["launch:"], "launch: found nothing, expected all, hedge, fallback or a mapping such as {initial: 2, stagger: 800ms}"),
        (["launch: {initial: 3}"], "launch.initial: found 3, expected at most the number of targets, 2"),
        (["launch: {initial: 0}"], "launch.initial: found 0, expected a whole number from 1 to 16"),
        (["launch: {initial: 1.5}"], "launch.initial: found 1.5, expected a whole number from 1 to 16"),
        (["launch: {}"], "launch: found a mapping of 0, expected a mapping such as {initial: 2, stagger: 800ms}"),
        (["launch: {stagger: 800}"], 'launch.stagger: found 800, expected a duration such as "800ms", auto or never'),
        (["launch: {stagger: forever}"], 'launch.stagger: found "forever", expected a duration such as "800ms", auto or never'),
        (["launch: {inital: 2}"], "launch.inital: unknown key, expected one of initial, stagger, hedges, map; did you mean `initial`?"),
        (["launch: {stagger: auto, hedges: 0}"], "launch.hedges: found 0, expected a whole number from 1 to 16"),
        (["launch: {initial: 1, hedges: 2}"], "launch.hedges: found 2, expected no `hedges` without a `stagger`, a duration or auto"),
        (["deadline: 20 sec"], 'deadline: found "20 sec", expected a duration such as "20s"'),
        (["deadline: 0s"], 'deadline: found "0s", expected a duration such as "20s"'),
        (["deadline: 11m"], 'deadline: found "11m", expected a duration of at most 10m'),
        (["timeout: true"], 'timeout: found true, expected a duration such as "20s"'),
        (["timeout: 10s", "first_token: 15s"], 'first_token: found "15s", expected at most the timeout of 10s'),
        (["on_filtered: never"], 'on_filtered: found "never", expected fail or next'),
        (["idle: 30"], 'idle: found 30, expected a duration such as "20s"'),
        (["timeout: 2m1s"], 'timeout: found "2m1s", expected at most the route\'s deadline of 2m'),
        (["retries: -1"], "retries: found -1, expected a whole number from 0 to 10"),
        (["retries: two"], 'retries: found "two", expected a whole number from 0 to 10'),
        (["select: majorty"], "select: unknown selector 'majorty', expected SELECTORS; did you mean 'majority'?"),
        (["select: []"], "select: found a list of 0, expected a list of selectors"),
        (["select: {first: {}, priority: {}}"], "select: found a mapping of 2, expected one selector with its options such as {majority: {agree: 2}}"),
        (["select: 3"], "select: found 3, expected a selector such as majority, {majority: {agree: 2}} or a list of them"),
        (["select: [majority, fist]"], "select[1]: unknown selector 'fist', expected SELECTORS; did you mean 'first'?"),
        (["select: {quorum: {k: 3, of: first}}"], "select.quorum.k: found 3, expected at most the number of targets, 2"),
        (["select: [{defer: {majority: {agree: 3}}}, first]"], "select[0].defer.majority.agree: found 3, expected at most the number of targets, 2"),
        (["select: {weighted: {weights: {local/qwen: 2}}}"], "select.weighted.weights.local/qwen: not a target of this route, expected one of openai/gpt-5-mini, local/qwen3; did you mean `local/qwen3`?"),
        (["retries: ${HUGE}"], "retries: found text (not shown), expected a whole number from 0 to 10"),
        (["retries: ${LONG}"], "retries: found text (not shown), expected a whole number from 0 to 10"),
        (["on_abstain: 3"], "on_abstain: found 3, expected priority or fail"),
        (["on_abstain: first"], 'on_abstain: found "first", expected priority or fail'),
        (["bufer: full"], "bufer: unknown key, expected one of targets, launch, select, on_abstain, deadline, timeout, standby, buffer, stream, first_token, idle, on_filtered, reliability, retries; did you mean `buffer`?"),
        (["standby: hot"], 'standby: found "hot", expected cold or warm'),
        (["launch: fallback", "standby: warm"], 'standby: found "warm", expected cold, or a launch that asks several targets at once'),
        (["buffer: full", "standby: warm"], 'standby: found "warm", expected cold with `buffer: full`, which shows no stream before it is whole'),
        (["select: majority", "standby: warm"], 'standby: found "warm", expected cold with `select: majority | priority`, which streams nothing before its end'),
        (["launch: hedge", "select: majority", "stream: verify"], 'stream: found "verify", expected auto, or a launch that asks several targets at once'),
        (["buffer: full", "select: majority", "stream: verify"], 'stream: found "verify", expected auto with `buffer: full`'),
        (["stream: verify"], 'stream: found "verify", expected auto with `select: first`, or a selector that votes'),
        (["retries: 1", "retries: 2"], "retries: written twice (first in line 7), expected each key once"),
        (["select: ${UNSET}"], "select: the variable UNSET is not set, expected it in the environment, or ${UNSET:-default}"),
        (["select: ${EMPTY}"], "select: the variable EMPTY is empty, expected it in the environment, or ${EMPTY:-default}"),
        (["select: ${not-a-name}"], "select: `${` without a variable, expected ${NAME}, ${NAME:-default} or ${file:PATH}; write $${ for a plain ${"),
        (["retries: ${WORD}"], "retries: found text (not shown), expected a whole number from 0 to 10"),
        (["select: ${WORD}"], "select: does not fit (not shown: a variable or a key stands in it), expected SELECTORS"),
        (["select: !important first"], "select: a YAML tag that is not known here, expected a plain value; put the value in quotes"),
        (["retries: !!int one"], "retries: not a number that can be used, expected a finite decimal one"),
        (["retries: 1e999"], "retries: not a number that can be used, expected a finite decimal one"),
    ],
)  # fmt: skip
def test_a_route_says_what_is_wrong_with_one_of_its_keys(lines: list[str], expected: str) -> None:
    """The sentence names the place, quotes the value where it is safe, says what is expected and, if known, the cure."""
    selectors = listed(SELECTORS.names())
    line = 6 + len(lines)
    assert fault_of(in_route(*lines)) == f"{line}: routes.r.{expected.replace('SELECTORS', selectors)}"


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("openai/gpt-5", 'found "openai/gpt-5", expected a list of 1 to 16 targets such as [openai/gpt-5-mini]'),
        ("[]", "found a list of 0, expected a list of 1 to 16 targets such as [openai/gpt-5-mini]"),
        (f"[{', '.join(['openai/a'] * 17)}]", "found a list of 17, expected a list of 1 to 16 targets such as [openai/gpt-5-mini]"),
    ],
)  # fmt: skip
def test_a_route_has_a_list_of_targets_of_bounded_length(targets: str, expected: str) -> None:
    """A fan-out has a ceiling that no client and no typing error can lift."""
    text = f"{PROVIDERS}routes:\n  r:\n    targets: {targets}\n"
    assert fault_of(text) == f"6: routes.r.targets: {expected}"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("gpt-5", ': found "gpt-5", expected provider/model such as openai/gpt-5-mini'),
        ("openai/", ': found "openai/", expected provider/model such as openai/gpt-5-mini'),
        ("/gpt-5", ': found "/gpt-5", expected provider/model such as openai/gpt-5-mini'),
        ("5", ": found 5, expected provider/model, or a mapping such as {model: openai/gpt-5-mini, weight: 2}"),
        ("{name: a}", ".model: missing, expected provider/model such as openai/gpt-5-mini"),
        ("mistral/small", ': found "mistral/small", expected a provider of this file before the slash (openai, local); define `mistral` under providers'),
        ("nobody/x", ': found "nobody/x", expected a provider of this file before the slash (openai, local)'),
        ("{model: opena/x}", '.model: found "opena/x", expected a provider of this file before the slash (openai, local); did you mean `openai`?'),
        ("{model: openai/x, weight: 0}", ".weight: found 0, expected a number above 0"),
        ("{model: openai/x, weight: heavy}", '.weight: found "heavy", expected a number above 0'),
        ("{model: openai/x, timeout: 5s, first_token: 6s}", '.first_token: found "6s", expected at most the timeout of 5s'),
        ("{model: openai/x, context: 128K}", '.context: found "128K", expected a number of tokens such as 128k'),
        ("{model: openai/x, timeout: 3m}", '.timeout: found "3m", expected at most the route\'s deadline of 2m'),
        ("{model: openai/x, name: 'a,b'}", '.name: found "a,b", expected up to 128 printable ASCII characters without spaces and commas, not beginning with `/`'),
        ("{model: openai/x, name: local/qwen3}", '.name: found "local/qwen3", expected each name once in a route'),
        ("{model: openai/x, params: {stream: true}}", ".params.stream: a field that a target cannot set, expected a field of the request body such as temperature"),
        ("{model: openai/x, params: {api_base: 'http://evil'}}", ".params.api_base: a field that a target cannot set, expected a field of the request body such as temperature"),
        ("{model: openai/x, defaults: {messages: []}}", ".defaults.messages: a field that a target cannot set, expected a field of the request body such as temperature"),
        ("{model: openai/x, drop: [messages]}", '.drop[0]: found "messages", expected a field that a request can do without, such as logit_bias'),
        ("{model: openai/x, drop: seed}", '.drop: found "seed", expected a list of field names such as [logit_bias]'),
        ("{model: openai/x, rename: {model: x}}", ".rename.model: a field that cannot be renamed, expected two fields such as max_tokens: max_completion_tokens"),
        ("{model: openai/x, rename: {a: b, b: c}}", '.rename.a: found "b", expected a name that no other field is renamed to or from'),
        ("{model: openai/x, drop: [a], rename: {a: b}}", ".rename.a: a field that is also dropped, expected it in one of both"),
        ("{model: openai/x, on_unsupported: ignore}", '.on_unsupported: found "ignore", expected fail or drop'),
        ("{model: openai/x, promt: hi}", ".promt: unknown key, expected one of model, name, prompt, params, drop, rename, defaults, on_unsupported, on_reasoning_only, same_as, timeout, prefill, price, first_token, idle, context, weight; did you mean `prompt`?"),
        ("local/Qwen 3 ünlü", ': found "local/Qwen 3 ünlü", expected a `name` beside it, as headers and metrics take only up to 128 printable ASCII characters without spaces and commas, not beginning with `/`'),
    ],
)  # fmt: skip
def test_a_target_says_what_is_wrong_with_it(target: str, expected: str) -> None:
    """The path counts targets from 0, as they stand."""
    text = (
        f"{PROVIDERS}routes:\n  r:\n    targets:\n      - {{model: local/qwen3, name: local/qwen3}}\n      - {target}\n"
    )
    assert fault_of(text) == f"8: routes.r.targets[1]{expected}"


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("antropic: {}", "antropic: not a provider we know by name, expected an `api` or a `base_url`; did you mean `anthropic`?"),
        ("house: {}", "house: not a provider we know by name, expected an `api` or a `base_url`; with `api: openai` it is any OpenAI-compatible server"),
        ("house: {api: opnai}", 'house.api: found "opnai", expected `openai` for any OpenAI-compatible server, or the name of a provider; did you mean `openai`?'),
        ("groq: {}", 'groq.api_key: missing, expected a key such as "${GROQ_API_KEY}"'),
        ("house: {api: groq}", 'house.api_key: missing, expected a key such as "${GROQ_API_KEY}"'),
        ("groq:", 'groq: found nothing, expected a mapping such as {api_key: "${OPENAI_API_KEY}"}'),
        ("groq: {api_key: 12}", 'groq.api_key: found a number (not shown), expected a key such as "${OPENAI_API_KEY}"; put the value in quotes'),
        ('groq: {api_key: " "}', "groq.api_key: found an empty text, expected a key"),
        ('groq: {api_key: "a b"}', "groq.api_key: a key with spaces, line breaks or non-ASCII characters (not shown), expected the key alone"),
        ("azure: {api_key: k}", "azure.base_url: missing, expected the resource's address such as https://NAME.openai.azure.com"),
        ("local: {base_url: 'http://h:99999/v1'}", 'local.base_url: found "http://h:99999/v1", expected an address with a port from 1 to 65535, or without a port'),
        ("local: {base_url: 'http://h/v1/chat/completions'}", 'local.base_url: found "http://h/v1/chat/completions", expected the address without /chat/completions'),
        ("local: {base_url: 'http://u:p@h/v1'}", "local.base_url: found text (not shown), expected an address such as http://127.0.0.1:8000/v1, without user, password and query"),
        ("local: {base_url: 'http://h/v1', concurrency: 0}", "local.concurrency: found 0, expected a whole number from 1 to 100000"),
        ("local: {base_url: 'http://h/v1', headers: {host: x}}", "local.headers.host: a header that cannot be set, expected a header name other than connection, content-length, content-type, host, transfer-encoding"),
        ('local: {base_url: "http://h/v1", headers: {x-a: "b\\r\\nc: d"}}', "local.headers.x-a: a header with line breaks or non-ASCII characters (not shown), expected printable ASCII"),
        ("local: {base_url: 'http://h/v1', api_key: k, headers: {Authorization: x}}", "local.headers.Authorization: a second credential besides api_key, expected one of them"),
        ("local: {base_url: 'http://h/v1', query: {v: 1}}", "local.query.v: found a number (not shown), expected text; put the value in quotes"),
        ("local: {base_url: 'http://h/v1', region: eu}", "local.region: not used with this api, expected headers and query for a server that our own client asks"),
        ("local: {base_url: 'http://h/v1', options: {a: 1}}", "local.options: not used with this api, expected headers and query for a server that our own client asks"),
        ("anthropic: {api_key: k, region: eu}", "anthropic.region: not used with this api, expected headers and query for a server that our own client asks"),
        ("local: {base_url: 'https://h', ca_certificate: nonsense}", 'local.ca_certificate: not certificates that can be read, expected text in PEM, such as "${file:ca.pem}"'),
        ('groq: {api_key: k, ca_certificate: "${file:no/such.pem}"}', "groq.ca_certificate: the file no/such.pem cannot be read or is empty, expected a file with text"),
        ("anthropic: {api_key: k, responses: true}", "anthropic.responses: not used with this api, expected `responses: true` on an OpenAI-compatible server"),
        ("'a/b': {base_url: 'http://h'}", "a/b: a name that cannot be used, expected a name of letters, digits, `_`, `.` and `-`"),
        ("local: {base_url: 'http://h', lauch: 1}", "local.lauch: unknown key, expected one of api, base_url, api_key, headers, query, concurrency, responses, ca_certificate, api_version, region, project, options"),
    ],
)  # fmt: skip
def test_a_provider_says_what_is_wrong_with_it(provider: str, expected: str) -> None:
    """Values that may be credentials are named, never shown."""
    assert fault_of(f"providers:\n  {provider}\nadhoc_routes: true\n") == f"2: providers.{expected}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["1: found nothing, expected a mapping with providers and routes"]),
        ("- a", ["1: found a list, expected a mapping with providers and routes"]),
        ("providers: {}\nadhoc_routes: true", ['1: providers: found a mapping of 0, expected at least one provider such as openai: {api_key: "${OPENAI_API_KEY}"}']),
        ("adhoc_routes: true", ['1: providers: missing, expected at least one provider such as openai: {api_key: "${OPENAI_API_KEY}"}']),
        (PROVIDERS, ["1: routes: missing, expected at least one route, or adhoc_routes: true"]),
        (f"{PROVIDERS}routes: {{}}", ["1: routes: missing, expected at least one route, or adhoc_routes: true"]),
        (f"{PROVIDERS}routes: {{r: }}", ["4: routes.r: found nothing, expected a mapping such as {targets: [openai/gpt-5-mini]}"]),
        (f"{PROVIDERS}routes: {{r: {{}}}}", ["4: routes.r.targets: missing, expected a list of 1 to 16 targets such as [openai/gpt-5-mini]"]),
        (f"{PROVIDERS}routes: {{'a b': {{targets: [local/x]}}}}", ['4: routes."a b": a name that cannot be used, expected up to 128 printable ASCII characters without spaces and commas, not beginning with `/`']),
        (f"{PROVIDERS}routes: {{gpt-4.1: {{targets: 1}}}}", ['4: routes."gpt-4.1".targets: found 1, expected a list of 1 to 16 targets such as [openai/gpt-5-mini]']),
        (f"{PROVIDERS}adhoc_routes: true\nroute: {{}}", ["5: route: unknown key, expected one of providers, routes, traces, adhoc_routes, passthrough, default_routes, limits, cors, redis, keys; did you mean `routes`?"]),
        (f"{PROVIDERS}adhoc_routes: true\ncors: [app.example.com]", ['5: cors[0]: found "app.example.com", expected an origin such as https://app.example.com, without a path, or *']),
        (f"{PROVIDERS}adhoc_routes: true\nkeys: {{web: sk-1234}}", ["5: keys.web: a key that is too short (not shown), expected at least 32 characters; make one with `openssl rand -hex 32`"]),
        (f"{PROVIDERS}adhoc_routes: true\nkeys: {{web: change-me-change-me-change-me-0000}}", ["5: keys.web: a key that can be guessed (not shown), expected a random one; make one with `openssl rand -hex 32`"]),
        (f"{PROVIDERS}adhoc_routes: true\nkeys: {{web: {'ab' * 20}}}", ["5: keys.web: a key that can be guessed (not shown), expected a random one; make one with `openssl rand -hex 32`"]),
        (f'{PROVIDERS}adhoc_routes: true\nkeys: {{web: "${{KEY}}", app: "${{KEY}}"}}', ["5: keys.app: the same key as web's (not shown), expected a key of its own for each client; make one with `openssl rand -hex 32`"]),
        (f"{PROVIDERS}adhoc_routes: true\nkeys: [{KEY}]", ['5: keys: found a list, expected a mapping of client names to keys such as web: "${HEDGEROW_KEY}"']),
        (f'{PROVIDERS}adhoc_routes: true\nkeys: {{"${{KEY}}": x}}', ['5: keys."${KEY}": a variable in a key, expected variables in values only']),
        ("providers: 1\nroutes: {r: {targets: [a/b]}}", ['1: providers: found a number (not shown), expected at least one provider such as openai: {api_key: "${OPENAI_API_KEY}"}']),
        (f"{PROVIDERS}adhoc_routes: true\npassthrough: opnai", ['5: passthrough: found "opnai", expected one of openai, local; did you mean `openai`?']),
        (f"{PROVIDERS}  bedrock: {{}}\nadhoc_routes: true\npassthrough: bedrock", ['6: passthrough: found "bedrock", expected a provider whose api is anthropic or openai; litellm has no way to pass a request on unread']),
        (f"{PROVIDERS}routes: {{good: {{targets: [local/m]}}}}\ndefault_routes: {{moderations: goood}}", ['5: default_routes.moderations: found "goood", expected a route of this file; did you mean `good`?']),
        (f"{PROVIDERS}routes: {{e: {{targets: [local/a, local/b]}}}}\ndefault_routes: {{embeddings: e}}", ['5: default_routes.embeddings: found "e", expected a route of one embedding model; `same_as` on the targets says where different names are the same']),
        (f"{PROVIDERS}adhoc_routes: true\ndefault_routes: {{images: x}}", ["5: default_routes.images: unknown key, expected one of completions, embeddings, moderations, rerank, images/generations, images/edits, audio/speech, audio/transcriptions, audio/translations; did you mean `images/edits`?"]),
        (f"{PROVIDERS}adhoc_routes: true\nkeys: {{<<: 1}}", ["5: keys: found 1, expected a mapping to merge, such as *defaults"]),
    ],
)  # fmt: skip
def test_the_document_says_what_is_wrong_with_its_outline(text: str, expected: list[str]) -> None:
    """A fault is told once, and nothing is complained about that follows only from it."""
    assert faults_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("providers: {openai: {api_key: ${OPENAI_API_KEY}}}", '1:32: not valid YAML: a `{` that is not closed, or an unquoted ${…} inside { }, expected a `}`, or quotes: "${NAME}"'),
        ("providers:\n\topenai: {}", "2:1: not valid YAML: a tab, expected spaces for indentation"),
        ("providers:\n  openai:\n    api_key: a: b", "3:15: not valid YAML: a `:` where no key can stand, expected quotes around a value that holds `: `"),
        ('routes: "a', "1:11: not valid YAML: a quote that is never closed, expected a closing quote"),
        ("routes: [a", "1:11: not valid YAML: a `[` that is not closed, expected a `]`"),
        ("routes:\n    a: 1\n  b: 2", "3:3: not valid YAML: a line that does not fit the indentation above it, expected the indentation of its neighbours"),
        ("routes: @a", "1:9: not valid YAML: an `@` or a backquote at the start of a value, expected quotes around it"),
        ("routes: %a", "1:9: not valid YAML: a `%` at the start of a value, expected quotes around it"),
        ("routes: *a", "1:9: not valid YAML: an alias (`*…`) that no anchor (`&…`) defines, expected an anchor before it, or quotes around it"),
        ("a: 1\n---\nb: 1", "2:1: not valid YAML: a second document (`---`), expected one document in a file"),
        ('a: "\\q"', "1:6: not valid YAML: an unknown escape (`\\…`) in double quotes, expected single quotes, or `\\\\`"),
        ("a: 1\nb\nc: 2", "3:1: not valid YAML: a line that is neither a key nor a value, expected `key: value`"),
        ("a:\n  b\x07", "2: the character U+0007, expected printable text"),
        ("a: &a [*a]", "1: more than 60 levels, expected a smaller document; an alias may repeat itself"),
        ("[" * 3000, " lists and mappings more than 60 deep"),
    ],
)  # fmt: skip
def test_broken_yaml_gets_one_clear_sentence(text: str, expected: str) -> None:
    """The parser's own words, which can carry words of the file, are not used."""
    assert fault_of(text) == expected


def test_aliases_that_multiply_are_stopped() -> None:
    """The billion laughs end after twenty thousand values."""
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
    )
    assert fault_of(laughs).endswith(
        ": more than 20,000 values, expected a smaller document; an alias may repeat itself"
    )


def test_a_key_that_is_a_mapping_is_told_with_the_usual_cause() -> None:
    """`{{ name }}` without quotes is a mapping inside a mapping."""
    text = f"{PROVIDERS}adhoc_routes: true\nkeys: {{{{web}}: x}}\n"
    assert fault_of(text) == (
        '5: keys: a key that is itself a mapping or a list, expected text; put a value such as "${NAME}" or "{{ name }}" in quotes'
    )


def test_the_line_of_a_fault_is_the_one_of_its_key() -> None:
    """A value that begins below its key is looked for where the key stands."""
    assert fault_of(in_route("timeout:", '  "5h"')).startswith("7: routes.r.timeout: ")


def test_the_same_fault_is_told_once() -> None:
    """A variable that is missing twice in one value is missing once."""
    assert "the variable HOST is not set" in fault_of(in_route('select: "${HOST} ${HOST}"'))


def test_a_faulty_deadline_brings_no_complaint_about_the_timeouts() -> None:
    """Nothing is compared with a value that is itself wrong."""
    assert fault_of(in_route("deadline: soon", "timeout: 5m")).startswith("7: routes.r.deadline: ")


def test_a_target_of_a_faulty_provider_is_not_complained_about() -> None:
    """The provider is defined, only badly: its own fault is enough."""
    text = "providers: {groq: {}}\nroutes: {r: {targets: [groq/x]}}\n"
    assert fault_of(text) == '1: providers.groq.api_key: missing, expected a key such as "${GROQ_API_KEY}"'


def test_all_missing_variables_of_one_value_are_named() -> None:
    """Each variable is a fault of its own."""
    text = f'{PROVIDERS}  far: {{base_url: "https://${{HOST}}:${{PORT}}/v1"}}\nadhoc_routes: true\n'
    assert [fault.split(",")[0] for fault in faults_of(text)] == [
        "4: providers.far.base_url: the variable HOST is not set",
        "4: providers.far.base_url: the variable PORT is not set",
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "cannot be read (No such file or directory), expected a configuration file; `hedgerow demo` needs none"),
        (b"a: 1\nb: \xff\n", "not UTF-8 text, expected a YAML file in UTF-8"),
        (b"#" * (1024 * 1024 + 1), "a file of 1048577 bytes, expected at most 1048576"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(tmp_path: Path, content: bytes | None, expected: str) -> None:
    """The sentence begins with the path as it was given."""
    path = tmp_path / "hedgerow.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as refused:
        load(path, {})
    assert str(refused.value) == f"{path}{':2' if content and content[0] != ord('#') else ''}: {expected}"


def test_a_directory_is_not_a_file(tmp_path: Path) -> None:
    """The system's own word for it is kept."""
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path, {})
