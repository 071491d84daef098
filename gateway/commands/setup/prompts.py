"""The questions of `claude-gateway setup`. They raise KeyboardInterrupt when the user presses Ctrl-C."""

import sys
from getpass import getpass

import questionary

from gateway.commands.setup.inputs import NO_TOKEN, BadInput, checked_token, checked_url
from gateway.commands.setup.model_list import Offer, describe


def ask_url(default: str) -> str:
    """The gateway's base URL."""
    answer = questionary.text("Gateway:", default=default, validate=_url_fault).unsafe_ask()
    return checked_url(answer)


def ask_token() -> str:
    """The token. Nothing shows while the user types it, not even its length."""
    while True:
        try:
            return checked_token(getpass("Your backend's key (hidden; just Enter if it needs none): ") or NO_TOKEN)
        except BadInput as error:
            print(error, file=sys.stderr)


def ask_model(offers: list[Offer], current: str | None) -> Offer:
    """One of the models, from a list that narrows as the user types."""
    choices = [questionary.Choice(describe(offer), value=offer) for offer in offers]
    preset = next((choice for choice, offer in zip(choices, offers, strict=True) if offer.id == current), None)
    answer: Offer = questionary.select(
        "Model (context, thinking, $ for a million tokens in / out):",
        choices=choices,
        default=preset,
        use_search_filter=True,
        use_jk_keys=False,
        instruction="type to search",
    ).unsafe_ask()
    return answer


def confirm() -> bool:
    """Whether to write the changes."""
    answer: bool = questionary.confirm("Write this?", default=True).unsafe_ask()
    return answer


def _url_fault(text: str) -> bool | str:
    try:
        checked_url(text)
    except BadInput as error:
        return str(error)
    return True
