"""The example that uses a ballot as the reducer of a LangGraph graph, run with the real LangGraph."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from types import ModuleType

import pytest

from fanin import Ballot, Candidate

EXAMPLE = Path(__file__).parents[2] / "examples" / "langgraph_redundancy.py"


@pytest.fixture
def example() -> ModuleType:
    """The example as a module; LangGraph's own imports warn of what its dependencies will remove."""
    spec = importlib.util.spec_from_file_location("langgraph_redundancy", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lang(graph|chain|smith)")
        warnings.filterwarnings("ignore", message=".*langgraph.*|.*LangChain.*|.*allowed_objects.*")
        spec.loader.exec_module(module)
    return module


def test_two_of_three_models_agree_in_the_graph_though_one_provider_is_down(example: ModuleType) -> None:
    """The reducer adds all four outcomes up, in any order; the deferred node runs once, after them."""
    final = example.graph().invoke({"question": "What is 7 times 8?", "ballot": Ballot()})
    assert final["answer"] == "56"
    assert {candidate.target for candidate in final["ballot"].candidates} == {"careful", "terse", "hasty"}
    assert [(failure.target, failure.kind) for failure in final["ballot"].failures] == [("down", "timeout")]


def test_the_vote_is_the_graphs_and_not_the_order_of_the_nodes(
    example: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When two others agree, theirs is the answer."""
    monkeypatch.setitem(example.MODELS, "careful", lambda _: "The answer is 54.")
    final = example.graph().invoke({"question": "What is 7 times 8?", "ballot": Ballot()})
    assert final["answer"] == "54"
    assert final["reason"].startswith("2 of 3")
    assert isinstance(final["ballot"].candidates[0], Candidate)
