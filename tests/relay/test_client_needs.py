"""Which clients need more than the API of a stream."""

import pytest

from gateway.relay.client_needs import ClientNeeds, needs_of


@pytest.mark.parametrize(
    ("user_agent", "needs"),
    [
        ("claude-cli/2.1.197 (external, cli)", ClientNeeds(heartbeat=True, drop=True)),
        ("claude-cli/2.1.330 (external, sdk-py)", ClientNeeds(drop=True)),
        ("claude-cli/2.0.77 (external, cli)", ClientNeeds(drop=True)),
        ("claude-cli/1.0.128 (external, cli)", ClientNeeds(drop=True)),
        ("claude-cli/3.0.1", ClientNeeds(drop=True)),
        ("claude-cli/next", ClientNeeds()),
        ("Anthropic/Python 2.14.0", ClientNeeds()),
        ("litellm/1.109.1", ClientNeeds()),
        ("my tool, like claude-cli/2.1.197", ClientNeeds()),
        ("claude-cli/99999999999999999999.1.1", ClientNeeds()),
        ("", ClientNeeds()),
    ],
)
def test_a_client_is_known_by_its_user_agent(user_agent: str, needs: ClientNeeds) -> None:
    assert needs_of(user_agent) == needs
