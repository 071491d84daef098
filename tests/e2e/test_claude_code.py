"""The real Claude Code client does a tool loop through the gateway, in front of the embedded backend."""

from pathlib import Path

import pytest

from tests.e2e.conftest import HERE, demo_process, last_json_line, run

pytestmark = [pytest.mark.claude_code, pytest.mark.timeout(600), pytest.mark.usefixtures("npm")]


@pytest.mark.parametrize("version", ["2.1.197", "2.1.330"])
async def test_it_reads_a_file_and_answers_with_its_word(version: str, cache: Path) -> None:
    async with demo_process() as url:
        code, out, err = await run(
            "bash", str(HERE / "run_claude_code.sh"), url,
            CC_VERSION=version, CC_PREFIX=str(cache / f"claude-code-{version}"),
        )  # fmt: skip
    if code == 3:
        pytest.skip(f"npm gives no claude-code {version}: {err[-300:]}")

    result = last_json_line(out)
    assert (code, result["pass"]) == (0, True), (result, err)
    assert result["client"] == version
    assert (result["tools"], result["tools_ok"], result["api_retries"]) == (["Read"], 1, 0)
