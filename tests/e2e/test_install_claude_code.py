"""From an empty home folder to an answer: the installer with the real npm, then the client that it installed."""

import os
import shutil
from pathlib import Path

import pytest

from tests.e2e.conftest import HERE, demo_process, run

pytestmark = [pytest.mark.claude_code, pytest.mark.timeout(600), pytest.mark.usefixtures("npm")]

SCRIPT = HERE.parents[1] / "deploy" / "install_claude_code.sh"

# what tells npm how to reach its registry, and nothing of Claude Code's
REACH = (
    "path",
    "npm_config_registry",
    "node_extra_ca_certs",
    "ssl_cert_file",
    "ssl_cert_dir",
    "https_proxy",
    "no_proxy",
)


async def test_a_client_is_installed_and_answers(cache: Path, tmp_path: Path) -> None:
    # on a machine where npm's own place is not the user's; npm's downloads are kept between runs
    npm = {name: value for name, value in os.environ.items() if name.lower() in REACH}
    npm |= {"NPM_CONFIG_CACHE": str(cache / "npm"), "NPM_CONFIG_PREFIX": "/dev/null"}
    user = {**npm, "HOME": str(tmp_path), "CLAUDE_GATEWAY_TOKEN": "cpk_test", "LANG": "C.UTF-8"}
    bare = ["env", "-i", *(f"{name}={value}" for name, value in user.items())]
    async with demo_process() as url:
        code, out, err = await run(*bare, "bash", str(SCRIPT), "--url", url, "--model", "zai-org/glm-4.5-air", "--yes")
        assert code == 0, (out, err)
        assert f"Installing @anthropic-ai/claude-code into {tmp_path}/.local" in out

        # nothing but the settings tells the client where to go
        client = ["env", "-i", f"PATH={os.environ['PATH']}", f"HOME={tmp_path}", "TERM=xterm"]
        code, out, err = await run(
            *client, "timeout", "120", str(tmp_path / ".local/bin/claude"), "-p", "say hello", "--output-format", "json"
        )

    assert code == 0, (out, err)
    assert '"is_error":false' in out
    assert "I am the embedded demo backend" in out
    assert "zai-org/GLM-4.5-Air" in out
    shutil.rmtree(tmp_path / ".local")
