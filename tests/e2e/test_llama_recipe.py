"""The recipe for llama.cpp: in its program, and in its server as a library, which runs on more machines."""

import re
import shlex
from pathlib import Path

import anthropic
import pytest

from tests.command_blocks import blocks_of
from tests.conftest import StartGateway
from tests.e2e.conftest import server_process

pytestmark = [pytest.mark.llama, pytest.mark.timeout(600)]

FLAGS = "--jinja --reasoning-format deepseek"
# what the test must have of its own: a small model, its port, and a window that takes little memory
OWN = r"-m \S+|--host \S+|--port \d+|-c \d+|-np \d+"


@pytest.mark.parametrize(
    "engine",
    [
        {"ENGINE": "binary", "LLAMA_ARGS": FLAGS},
        # the library has no command line: the start script sets --jinja, and this the other flag
        {"ENGINE": "xllamacpp", "REASONING_FORMAT": "deepseek"},
    ],
    ids=["program", "library"],
)
async def test_the_recipes_flags_give_a_server_that_the_gateway_works_with(
    engine: dict[str, str], cache: Path, start_gateway: StartGateway
) -> None:
    (block,) = blocks_of("test_the_recipes_flags_give_a_server_that_the_gateway_works_with")
    program, *_ = shlex.split(block.text)
    flags = re.sub(OWN, "", block.text.removeprefix(program)).strip()

    assert (program, flags) == ("llama-server", FLAGS)
    with server_process("start_llama_backend.sh", cache / "llama", THREADS="1", **engine) as url:
        gateway = await start_gateway(url)
        async with anthropic.AsyncAnthropic(
            base_url=str(gateway.make_url("/")), api_key="any", max_retries=0
        ) as client:
            message = await client.messages.create(
                model="gemma-3-270m",
                max_tokens=8,
                messages=[{"role": "user", "content": "Hello"}],
                tools=[{"name": "ping", "input_schema": {"type": "object", "properties": {}}}],
            )

    assert message.usage.output_tokens > 0
