"""What tokens cost: the operator's word, else litellm's list, read as a file; else nothing is claimed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gateway import config
from gateway.domain import Price, Usage
from gateway.observe.prices import Prices
from tests.support.simulators import ROOT

TEXT = """
providers:
  openai: {api_key: k}
  anthropic: {api_key: k}
  mistral: {api_key: k}
  work: {api: openai, api_key: k}
  local: {base_url: "http://127.0.0.1:1/v1"}
routes:
  r:
    targets:
      - openai/gpt-4o-mini
      - anthropic/claude-haiku-4-5
      - mistral/mistral-large-latest
      - work/gpt-4o-mini
      - local/gpt-4o-mini
      - {model: local/own, price: {input: 1, output: 2.5}}
"""


def test_prices_are_found_by_who_is_asked_not_by_how_the_model_is_called() -> None:
    """OpenAI's own address has OpenAI's prices under any name; a server of one's own has none unless it is written."""
    settings = config.parse(TEXT, {})
    prices, targets = Prices(settings.providers), settings.routes["r"].targets
    unknown = prices.load(targets)

    openai, anthropic, mistral, work, local, own = map(prices.of, targets)
    assert openai == work
    assert openai is not None
    assert 0 < openai.input < openai.output
    assert anthropic is not None
    assert mistral is not None
    assert local is None
    assert own == Price(1, 2.5)
    assert unknown == ("local/gpt-4o-mini",)


def test_dollars_are_per_million_tokens() -> None:
    """As providers print them."""
    assert Price(0.15, 0.6).of(Usage(1_000_000, 500_000)) == pytest.approx(0.45)


def test_looking_prices_up_does_not_import_litellm() -> None:
    """That takes three seconds; the list is a file."""
    code = (
        "import sys\n"
        "from gateway.domain import Target\n"
        "from gateway.observe.prices import Prices\n"
        "assert not Prices({}).load([Target('x', 'openai', 'gpt-4o-mini')])\n"
        "assert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("price", "fault"),
    [
        ("{input: 1}", "price.output: missing"),
        ("{input: -1, output: 1}", "price.input: found -1, expected a number of dollars, 0 or more"),
        ("3", "price: found 3, expected a mapping such as {input: 0.15, output: 0.6}"),
    ],
)
def test_a_price_that_is_none_is_a_fault(price: str, fault: str) -> None:
    """The path says where it stands."""
    text = (
        "providers: {local: {base_url: 'http://127.0.0.1:1/v1'}}\nroutes: {r: {targets: [{model: local/m, price: %s}]}}"
    )
    with pytest.raises(config.ConfigError) as refused:
        config.parse(text % price, {})
    assert fault in str(refused.value)
