"""Server flags to suggest in remedies, by kind of server."""

from collections.abc import Mapping
from typing import Final

# display names, by profile; the tables below map a profile to a flag
_NAMES: Final = {"vllm": "vLLM", "sglang": "SGLang", "llama.cpp": "llama.cpp", "ollama": "Ollama"}
TOOL_PARSER: Final[Mapping[str, str]] = {
    "vllm": "--enable-auto-tool-choice --tool-call-parser NAME",
    "sglang": "--tool-call-parser NAME",
    "llama.cpp": "--jinja",
}
REASONING_PARSER: Final[Mapping[str, str]] = {
    "vllm": "--reasoning-parser NAME",
    "sglang": "--reasoning-parser NAME",
    "llama.cpp": "--reasoning-format deepseek",
}
WINDOW: Final[Mapping[str, str]] = {
    "vllm": "--max-model-len 65536",
    "sglang": "--context-length 65536",
    "llama.cpp": "-c 65536",
    "ollama": "OLLAMA_CONTEXT_LENGTH=65536",
}
CACHE: Final[Mapping[str, str]] = {
    "vllm": "--enable-prefix-caching",
    "sglang": "without --disable-radix-cache",
    "llama.cpp": "without --no-cache-prompt",
}


def flags(table: Mapping[str, str], profile: str) -> str:
    """`vLLM: --flag` if the table has the profile, otherwise the flags of every kind."""
    if profile in table:
        return f"{_NAMES[profile]}: {table[profile]}"
    return "; ".join(f"{_NAMES[name]}: {flag}" for name, flag in table.items())
