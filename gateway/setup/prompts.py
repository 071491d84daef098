"""The questions of `claude-gateway setup`. Raise KeyboardInterrupt when the user leaves."""

from collections.abc import Callable

import questionary

from gateway.setup.inputs import NO_TOKEN, BadInput, checked_token, checked_url
from gateway.setup.model_list import Offer, describe


def ask_url(default: str) -> str:
    """The gateway's base URL."""
    answer = questionary.text("Gateway:", default=default, validate=_fits(checked_url)).unsafe_ask()
    return checked_url(answer)


def ask_token() -> str:
    """The token; nothing of it shows while it is typed."""
    question = "Your backend's key (hidden; just Enter where it needs none):"
    asked = questionary.password(question, validate=_fits(lambda text: checked_token(text or NO_TOKEN)))
    return checked_token(asked.unsafe_ask() or NO_TOKEN)


def ask_model(offers: list[Offer], current: str | None) -> Offer:
    """One of the models, from a list that narrows while the user types."""
    width = max(len(offer.id) for offer in offers)
    choices = [questionary.Choice(f"{offer.id:<{width}}  {describe(offer)}", value=offer) for offer in offers]
    preset = next((choice for choice, offer in zip(choices, offers, strict=True) if offer.id == current), None)
    answer: Offer = questionary.select(
        f"Model, of {len(offers)} (context in tokens; $ for a million tokens in / out):",
        choices=choices,
        default=preset,
        use_search_filter=True,
        use_jk_keys=False,
        instruction="type to search, arrows to move, Enter to choose",
    ).unsafe_ask()
    return answer


def confirm() -> bool:
    """Whether to write."""
    answer: bool = questionary.confirm("Write this?", default=True).unsafe_ask()
    return answer


def _fits(check: Callable[[str], str]) -> Callable[[str], bool | str]:
    def validate(text: str) -> bool | str:
        try:
            check(text)
        except BadInput as error:
            return str(error)
        return True

    return validate
