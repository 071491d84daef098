"""`claude-gateway demo`: one conversation through the gateway, shown in the terminal as it streams.

The client side is aiohttp-sse-client, an independent parser of event streams. It reconnects when a stream ends, so this
module stops reading at `message_stop`.
"""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

from aiohttp import web
from aiohttp_sse_client.client import EventSource
from rich.console import Console
from rich.text import Text

from gateway.app import make_app
from gateway.backend.endpoint import parse_endpoint
from gateway.commands.demo.backend import MODELS, make_backend
from gateway.observability.logs.configuration import configure_logging
from gateway.serving.server import listening, wait_for_signal
from gateway.settings import Settings

_FILE: Final = "notes/today.txt"
_NOTE: Final = "The gateway translates both ways, one token at a time."
_PROMPT: Final = f"Use the read_file tool to read {_FILE}, then tell me what it says."
_TOOL: Final = {
    "name": "read_file",
    "description": "Read a text file.",
    "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]},
}
_STYLES: Final = {"thinking": "dim italic", "text": "default", "tool_use": "cyan"}


async def demo(settings: Settings, *, once: bool) -> int:
    """Serve the embedded backend and the gateway, hold the conversation, then stay up unless `once`."""
    console = Console(highlight=False)
    # no log lines of requests during the conversation, only after it
    quiet = "warning" if settings.log_level == "info" else settings.log_level
    configure_logging(quiet, settings.log_format, cache=False)
    async with _backend() as backend_url:
        settings = replace(settings, backend_url=parse_endpoint(backend_url))
        async with listening(make_app(settings), settings) as url:
            console.print(f"[bold]claude-gateway[/] on {url}, in front of the embedded backend")
            await _Conversation(console, url).hold()
            if not once:
                _print_client_settings(console, url)
                configure_logging(settings.log_level, settings.log_format)
                await wait_for_signal()
    return 0


@contextlib.asynccontextmanager
async def _backend() -> AsyncIterator[str]:
    runner = web.AppRunner(make_backend(), access_log=None, handler_cancellation=True, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@dataclass(slots=True)
class _Conversation:
    """A user turn, the model's tool call, the tool's result, the model's answer."""

    console: Console
    url: str
    messages: list[dict[str, Any]] = field(default_factory=list)

    async def hold(self) -> None:
        """Run the whole conversation."""
        self._heading("user", "green")
        self.console.print(_PROMPT, style="green")
        await self._turn(_PROMPT)
        calls = [block for block in self.messages[-1]["content"] if block["type"] == "tool_use"]
        results = [{"type": "tool_result", "tool_use_id": call["id"], "content": _NOTE} for call in calls]
        if results:
            self._heading("tool_result", "yellow")
            self.console.print(_NOTE, style="yellow")
            await self._turn(results)
        self.console.print()

    async def _turn(self, content: str | list[dict[str, Any]]) -> None:
        self.messages.append({"role": "user", "content": content})
        request = {
            "model": MODELS[0],
            "max_tokens": 1024,
            "stream": True,
            "thinking": {"type": "adaptive"},
            "tools": [_TOOL],
            "messages": self.messages,
        }
        blocks: list[dict[str, Any]] = []
        source = EventSource(
            f"{self.url}/v1/messages",
            option={"method": "POST"},
            max_connect_retry=0,
            headers={"Authorization": "Bearer demo"},
            json=request,
        )
        async with source:
            async for event in source:
                if event.type == "message_stop":
                    break
                self._show(event.type, json.loads(event.data), blocks)
        self.messages.append({"role": "assistant", "content": blocks})

    def _show(self, name: str, event: dict[str, Any], blocks: list[dict[str, Any]]) -> None:
        """Print an event, and assemble its block for the next turn."""
        if name == "content_block_start":
            block = event["content_block"]
            blocks.append(block)
            style = _STYLES[block["type"]]
            self._heading(" ".join(filter(None, (block["type"], block.get("name")))), style)
        elif name == "content_block_delta":
            self._show_delta(event["delta"], blocks[-1])
        elif name == "content_block_stop":
            block = blocks[-1]
            if block["type"] == "tool_use":
                block["input"] = json.loads(block.pop("partial_json", "") or "{}")
            self.console.print()
        elif name == "message_delta":
            usage = event["usage"]
            self.console.print(
                f"[dim]{event['delta']['stop_reason']} · {usage['input_tokens']} tokens in, "
                f"{usage['output_tokens']} out[/]"
            )

    def _show_delta(self, delta: dict[str, Any], block: dict[str, Any]) -> None:
        if delta["type"] == "signature_delta":
            block["signature"] = delta["signature"]
            return
        name = "partial_json" if block["type"] == "tool_use" else block["type"]
        block[name] = block.get(name, "") + delta[name]
        self.console.print(Text(delta[name], style=_STYLES[block["type"]]), end="", soft_wrap=True)

    def _heading(self, text: str, style: str) -> None:
        self.console.print(Text(f"\n▌ {text}", style=f"bold {style}"))


def _print_client_settings(console: Console, url: str) -> None:
    # side tasks and sub-agents request other models than the main conversation
    names = [f"ANTHROPIC_DEFAULT_{family}_MODEL" for family in ("OPUS", "SONNET", "HAIKU", "FABLE")]
    client = {
        "model": MODELS[0],
        "alwaysThinkingEnabled": True,
        "env": {
            "ANTHROPIC_BASE_URL": url,
            "ANTHROPIC_AUTH_TOKEN": "demo",
            **dict.fromkeys([*names, "CLAUDE_CODE_SUBAGENT_MODEL"], MODELS[0]),
            "API_TIMEOUT_MS": "6000000",
        },
    }
    console.print("To use it with [bold]Claude Code[/], put this into ~/.claude/settings.json:\n")
    console.print(json.dumps(client, indent=2))
    console.print("\nThe gateway keeps running; press Ctrl-C to stop it.")
