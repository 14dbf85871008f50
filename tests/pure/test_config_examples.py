"""The example configurations: each is sound, needs the variables it says, and does what its first lines promise."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from gateway.config import ConfigError, load
from gateway.domain import Launch
from gateway.settings import Settings

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"
NAMES = ["azure", "cheap-majority", "hedged-streaming", "local-ollama", "perspectives", "reliable", "translation"]


def variables_of(name: str) -> list[str]:
    """Return the variables without a default that an example names."""
    return sorted(set(re.findall(r"\$\{(\w+)\}", (EXAMPLES / f"{name}.yaml").read_text())))


def example(name: str) -> Settings:
    """Return the settings of an example, with a value for each of its variables."""
    key = "Zq8_vR2mXw5-tB9nLc4yKd7jHf3gPs6a"
    environ = {variable: f"{key}{variable}" for variable in variables_of(name)}
    return load(EXAMPLES / f"{name}.yaml", environ | {"AZURE_OPENAI_ENDPOINT": "https://hedgerow.openai.azure.com"})


def test_these_are_all_examples() -> None:
    """A new example is added to this test as well."""
    assert sorted(path.stem for path in EXAMPLES.glob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_sound_and_leaves_nothing_to_note(name: str) -> None:
    """Every example starts as it is, and shows no bad habit."""
    settings = example(name)
    assert settings.routes
    assert settings.notes == ()


@pytest.mark.parametrize("name", NAMES)
def test_an_example_names_every_variable_that_it_needs(name: str) -> None:
    """Without any variable each missing one is told."""
    with pytest.raises(ConfigError) as refused:
        load(EXAMPLES / f"{name}.yaml", {})
    assert sorted({fault.fault.split()[2] for fault in refused.value.faults}) == variables_of(name)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_begins_with_what_it_is_for(name: str) -> None:
    """The first line is a sentence."""
    first = (EXAMPLES / f"{name}.yaml").read_text().split("\n")[0]
    assert re.fullmatch(r"# [A-Z].{20,118}", first)


def test_reliable_votes_among_all_and_asks_for_a_key() -> None:
    """Two that agree decide; when no answer holds a number the best target's is taken."""
    settings = example("reliable")
    route = settings.routes["reliable"]
    assert (len(route.targets), route.launch, route.select.name) == (3, Launch(3, math.inf), "majority | priority")
    assert list(settings.keys) == ["web"]


def test_cheap_majority_asks_the_third_only_on_dissent() -> None:
    """Escalation: two at once, the next never by the clock."""
    route = example("cheap-majority").routes["cheap-majority"]
    assert (len(route.targets), route.launch) == (3, Launch(2, math.inf))
    assert route.targets[0].model == "openai/gpt-oss-120b"


def test_hedged_streaming_can_stream_live() -> None:
    """Both routes decide on the first words."""
    routes = example("hedged-streaming").routes
    assert all(route.select.live for route in routes.values())
    assert [route.launch for route in routes.values()] == [Launch(1, 2.0, adaptive=True, hedges=1), Launch(2, 0.8)]


def test_perspectives_have_three_prompts_and_one_model() -> None:
    """The lawyer's verdict weighs twice."""
    targets = example("perspectives").routes["review"].targets
    assert [(target.name, target.weight) for target in targets] == [("technical", 1), ("business", 1), ("legal", 2)]
    assert len({target.prompt for target in targets}) == 3
    assert {target.model for target in targets} == {"gpt-5"}


def test_translations_are_shown_side_by_side() -> None:
    """All three are asked for the same, and nobody decides."""
    route = example("translation").routes["translation"]
    assert (len(route.targets), route.launch, route.select.name) == (3, Launch(3, math.inf), "collect")
    assert len({target.prompt for target in route.targets}) == 1


def test_local_goes_out_only_after_a_failure() -> None:
    """The hosted provider stands last in a fallback."""
    settings = example("local-ollama")
    assert settings.routes["local"].launch == Launch(1, math.inf)
    assert settings.routes["local"].targets[-1].provider == "openai"
    assert settings.adhoc


def test_azure_uses_the_v1_address_and_its_own_header() -> None:
    """Both regions, and no dated api-version."""
    providers = example("azure").providers
    for name in ("azure", "azure-sweden"):
        assert providers[name].base_url in {
            "https://hedgerow.openai.azure.com/openai/v1",
            "https://hedgerow-sweden.openai.azure.com/openai/v1",
        }
        assert (providers[name].api_key, list(providers[name].headers), providers[name].query) == (
            None,
            ["api-key"],
            {},
        )
    assert dict(providers["bedrock"].options) == {"aws_region_name": "eu-central-1"}
