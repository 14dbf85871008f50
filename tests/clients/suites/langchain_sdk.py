"""LangChain's ChatOpenAI: the standard suite of langchain-tests, and what chains do."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests
from place import BASE_URL, EMBEDDING, KEY, MODEL
from pydantic import BaseModel, SecretStr


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


def model(**options: Any) -> ChatOpenAI:
    return ChatOpenAI(model=MODEL, base_url=BASE_URL, api_key=SecretStr(KEY), max_retries=0, **options)


class TestStandard(ChatModelIntegrationTests):
    """The suite that LangChain asks of every chat model, over the Chat Completions API."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": MODEL, "base_url": BASE_URL, "api_key": KEY, "max_retries": 0, "stream_usage": True}

    @property
    def supports_image_inputs(self) -> bool:
        return True

    @property
    def enable_vcr_tests(self) -> bool:
        return False


def test_structured_output() -> None:
    """`with_structured_output` gives the object."""
    assert isinstance(model().with_structured_output(Person).invoke("Who?"), Person)


def test_tools_bound() -> None:
    """A bound tool is called."""
    (call,) = model().bind_tools([weather]).invoke("Weather?").tool_calls
    assert call["name"] == "weather"


def test_the_responses_api() -> None:
    """LangChain over `/v1/responses`."""
    assert model(use_responses_api=True).invoke("Who?").text


def test_embeddings() -> None:
    """Token arrays go out by default, vectors come back."""
    embeddings = OpenAIEmbeddings(
        model=EMBEDDING, base_url=BASE_URL, api_key=SecretStr(KEY), check_embedding_ctx_length=False
    )
    assert len(embeddings.embed_documents(["one", "two"])) == 2
