"""What the beginning of a LiteLLM model name stands for: `groq/…`, `azure/…`, a row each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from openai_gateway.config.providers import OPENAI_URL, OPENROUTER_URL


@attrs.frozen(kw_only=True)
class Origin:
    """A provider as LiteLLM knows it.

    `base_url`: where it is asked without an api_base; None: that has to be given (or stand in `base_variable`).
    `key`: the variable that LiteLLM takes its key from, None where none is needed. `is_native`: LiteLLM's api_base is
    the root of another protocol than OpenAI's, which the server has beside it under /v1.
    """

    kind: str = "openai"
    base_url: str | None = None
    base_variable: str | None = None
    key: str | None = None
    is_native: bool = False


_OLLAMA: Final = Origin(base_url="http://localhost:11434", base_variable="OLLAMA_API_BASE", is_native=True)
_OPENAI: Final = Origin(base_url=OPENAI_URL, key="OPENAI_API_KEY")

# The addresses and variables are those that LiteLLM 1.106 uses itself, as far as it speaks OpenAI's protocol to them;
# Gemini, which it asks by Google's own, has an OpenAI-compatible address too.
ORIGINS: Final[Mapping[str, Origin]] = {
    "openai": _OPENAI,
    "text-completion-openai": _OPENAI,
    "custom_openai": Origin(key="OPENAI_API_KEY"),
    "openai_like": Origin(base_variable="OPENAI_LIKE_API_BASE", key="OPENAI_LIKE_API_KEY"),
    "azure": Origin(kind="azure", base_variable="AZURE_API_BASE", key="AZURE_API_KEY"),
    "anthropic": Origin(kind="anthropic", base_url="", key="ANTHROPIC_API_KEY"),
    "ollama": _OLLAMA,
    "ollama_chat": _OLLAMA,
    "openrouter": Origin(base_url=OPENROUTER_URL, key="OPENROUTER_API_KEY"),
    "hosted_vllm": Origin(base_variable="HOSTED_VLLM_API_BASE"),
    "lm_studio": Origin(base_variable="LM_STUDIO_API_BASE"),
    "llamafile": Origin(base_url="http://127.0.0.1:8080/v1", base_variable="LLAMAFILE_API_BASE"),
    "litellm_proxy": Origin(base_variable="LITELLM_PROXY_API_BASE", key="LITELLM_PROXY_API_KEY"),
    "groq": Origin(base_url="https://api.groq.com/openai/v1", key="GROQ_API_KEY"),
    "mistral": Origin(base_url="https://api.mistral.ai/v1", key="MISTRAL_API_KEY"),
    "codestral": Origin(base_url="https://codestral.mistral.ai/v1", key="CODESTRAL_API_KEY"),
    "deepseek": Origin(base_url="https://api.deepseek.com/v1", key="DEEPSEEK_API_KEY"),
    "xai": Origin(base_url="https://api.x.ai/v1", key="XAI_API_KEY"),
    "together_ai": Origin(base_url="https://api.together.ai/v1", key="TOGETHER_API_KEY"),
    "fireworks_ai": Origin(base_url="https://api.fireworks.ai/inference/v1", key="FIREWORKS_API_KEY"),
    "gemini": Origin(base_url="https://generativelanguage.googleapis.com/v1beta/openai", key="GEMINI_API_KEY"),
    "perplexity": Origin(base_url="https://api.perplexity.ai/chat/completions", key="PERPLEXITYAI_API_KEY"),
    "cerebras": Origin(base_url="https://api.cerebras.ai/v1", key="CEREBRAS_API_KEY"),
    "nvidia_nim": Origin(base_url="https://integrate.api.nvidia.com/v1", key="NVIDIA_NIM_API_KEY"),
    "sambanova": Origin(base_url="https://api.sambanova.ai/v1", key="SAMBANOVA_API_KEY"),
    "deepinfra": Origin(base_url="https://api.deepinfra.com/v1/openai", key="DEEPINFRA_API_KEY"),
    "moonshot": Origin(base_url="https://api.moonshot.ai/v1", key="MOONSHOT_API_KEY"),
    "dashscope": Origin(base_url="https://dashscope.aliyuncs.com/compatible-mode/v1", key="DASHSCOPE_API_KEY"),
    "zai": Origin(base_url="https://api.z.ai/api/paas/v4", key="ZAI_API_KEY"),
    "nebius": Origin(base_url="https://api.studio.nebius.ai/v1", key="NEBIUS_API_KEY"),
    "hyperbolic": Origin(base_url="https://api.hyperbolic.xyz/v1", key="HYPERBOLIC_API_KEY"),
}

# Names without a prefix: how those begin whose provider LiteLLM knows by heart.
FAMILIES: Final = (
    *((begin, "openai") for begin in ("gpt-", "chatgpt-", "o1", "o3", "o4", "text-embedding-", "omni-moderation-")),
    *((begin, "openai") for begin in ("dall-e-", "whisper-", "tts-", "davinci-", "babbage-", "ft:gpt-")),
    ("claude-", "anthropic"),
)


def split(model: str, provider: str | None) -> tuple[str, str] | None:
    """The prefix and the provider's own name of a LiteLLM model; None where it cannot be told.

    `provider` is custom_llm_provider, which wins over what the name says.
    """
    prefix, slash, rest = model.partition("/")
    if provider is not None:
        return provider, rest if slash and prefix == provider else model
    if slash and prefix in ORIGINS:
        return prefix, rest
    family = next((name for begin, name in FAMILIES if model.startswith(begin)), None)
    if family is not None and not slash:
        return family, model
    return (prefix, rest) if slash else None
