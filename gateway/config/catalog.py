"""What we know about well-known providers: address, the variable that holds the key, and one good current model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """A provider by its well-known name.

    `api` is `openai` or `anthropic` for what our own wire clients serve, else litellm's name. `keys` and `addresses`
    are the variables in which its key and its address are commonly kept, the one we tell people about first; a provider
    without `keys` needs none. `model` is one good current model, None where only the operator can know.
    """

    api: str
    base_url: str | None = None
    keys: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    model: str | None = None


def _ours(base_url: str | None, *keys: str, model: str | None = None, addresses: tuple[str, ...] = ()) -> Profile:
    return Profile("openai", base_url, keys, addresses, model)


PROFILES = {
    "openai": _ours("https://api.openai.com/v1", "OPENAI_API_KEY", addresses=("OPENAI_BASE_URL",), model="gpt-5-mini"),
    "anthropic": Profile("anthropic", keys=("ANTHROPIC_API_KEY",), model="claude-haiku-4-5"),
    "gemini": Profile("gemini", keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"), model="gemini-flash-latest"),
    "mistral": _ours("https://api.mistral.ai/v1", "MISTRAL_API_KEY", model="mistral-small-latest"),
    "groq": _ours("https://api.groq.com/openai/v1", "GROQ_API_KEY", model="openai/gpt-oss-120b"),
    "deepseek": _ours("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", model="deepseek-v4-flash"),
    "openrouter": _ours("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", model="openrouter/auto"),
    "azure": _ours(None, "AZURE_OPENAI_API_KEY", addresses=("AZURE_OPENAI_ENDPOINT",)),
    "ollama": _ours("http://127.0.0.1:11434/v1", addresses=("OLLAMA_HOST", "OLLAMA_BASE_URL"), model="qwen3"),
    "vllm": _ours("http://127.0.0.1:8000/v1", addresses=("VLLM_BASE_URL",)),
    "together": _ours("https://api.together.ai/v1", "TOGETHER_API_KEY"),
    "fireworks": _ours("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "xai": _ours("https://api.x.ai/v1", "XAI_API_KEY"),
    "cerebras": _ours("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
    "perplexity": _ours("https://api.perplexity.ai", "PERPLEXITY_API_KEY"),
    "nvidia": _ours("https://integrate.api.nvidia.com/v1", "NVIDIA_API_KEY"),
    "cohere": Profile("cohere", keys=("COHERE_API_KEY",)),
    "bedrock": Profile("bedrock"),
    "vertex_ai": Profile("vertex_ai"),
}
"""The order is the one in which `hedgerow serve` without a file prefers what it finds."""

OURS = frozenset({"anthropic", "openai"})
"""What our own wire clients speak."""

LITELLM = frozenset(
    {
        "ai21",
        "amazon_nova",
        "azure_ai",
        "baseten",
        "bedrock",
        "clarifai",
        "cloudflare",
        "cohere",
        "databricks",
        "datarobot",
        "gemini",
        "gigachat",
        "github",
        "github_copilot",
        "huggingface",
        "meta_llama",
        "nlp_cloud",
        "oci",
        "oobabooga",
        "petals",
        "predibase",
        "replicate",
        "sagemaker",
        "sagemaker_chat",
        "sagemaker_nova",
        "sap",
        "snowflake",
        "triton",
        "vertex_ai",
        "watsonx",
        "watsonx_text",
    }
)
"""The words that `api` takes besides: litellm's names of chat providers that do not speak OpenAI's protocol."""

REGION = {
    "bedrock": "aws_region_name",
    "sagemaker": "aws_region_name",
    "sagemaker_chat": "aws_region_name",
    "vertex_ai": "vertex_location",
}
"""What litellm calls the `region` of a provider, by api."""

PROJECT = {"vertex_ai": "vertex_project", "watsonx": "project_id", "watsonx_text": "project_id"}
"""What litellm calls the `project` of a provider, by api."""
