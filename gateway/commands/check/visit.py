"""The state that the probes of one check share."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from gateway.backend.adapter import Backend, Timeouts
from gateway.backend.endpoint import Endpoint
from gateway.backend.models.catalogue import Catalogue
from gateway.backend.policy.breaker import Breaker
from gateway.backend.policy.retry import RetryPolicy
from gateway.backend.profiles import profile_for_host
from gateway.commands.check.asking import Answer, Asker
from gateway.commands.check.secrets import Secrets
from gateway.commands.check.wire import NoReply, Reply, Wire
from gateway.openai.models import Model
from gateway.openai.profile import GENERIC, Profile
from gateway.settings import Settings

_LIST_SECONDS: Final = 10.0


@dataclass(slots=True)
class Found:
    """Findings that later probes and the advice at the end use."""

    reply: Reply | NoReply | None = None
    models: list[Model] = field(default_factory=list)
    hello: Answer | None = None
    story: Answer | None = None
    tool_call: Answer | None = None
    # what turns thinking on and off; None: nothing found
    thinking_control: str | None = None
    reasoning: str = ""
    thinks: bool = False
    window: int | None = None


@dataclass(slots=True)
class Visit:
    """One check of one backend. `wanted`: the model that the user named, or ""."""

    settings: Settings
    token: str
    wanted: str
    full: bool
    secrets: Secrets
    backend: Backend
    wire: Wire
    catalogue: Catalogue
    found: Found = field(default_factory=Found)
    # the chosen model's profile before anything was learnt
    first_profile: Profile = GENERIC
    _asker: Asker | None = None

    @property
    def endpoint(self) -> Endpoint:
        """The backend's address."""
        return self.settings.backend_url

    @property
    def guessed(self) -> bool:
        """Whether the backend's profile is only a guess: neither the settings nor its host name determine it."""
        return self.settings.backend_profile is None and profile_for_host(self.endpoint.host) is None

    @property
    def has_asker(self) -> bool:
        """Whether a model has been chosen."""
        return self._asker is not None

    @property
    def asker(self) -> Asker:
        """The Asker of the chosen model. Raises RuntimeError before one is chosen."""
        if self._asker is None:
            raise RuntimeError("no model has been chosen")
        return self._asker

    def choose(self, model: Model) -> None:
        """Use this model from now on."""
        self.first_profile = self.catalogue.profile(model)
        self.found.window = model.context_window
        self._asker = Asker(self.backend, self.token, model.id, self.first_profile, model.context_window)


@contextlib.asynccontextmanager
async def visiting(settings: Settings, *, token: str, model: str, full: bool, patience: float) -> AsyncIterator[Visit]:
    """Open a check of the backend that the settings name. `patience`: time limit for one answer, in seconds."""
    backend = Backend(
        settings.backend_url,
        Breaker(enabled=False, fail_max=1, reset_seconds=1),
        timeouts=Timeouts(connect=settings.connect_timeout_secs, answer=patience, silence=patience),
        retry=RetryPolicy(settings.backend_retries, settings.backend_retry_secs),
        key=settings.backend_api_key,
    )
    wire = Wire(
        backend.authorization(token),
        connect_seconds=settings.connect_timeout_secs,
        seconds=min(patience, _LIST_SECONDS),
    )
    visit = Visit(
        settings=settings,
        token=token,
        wanted=model,
        full=full,
        secrets=Secrets(token, settings.backend_api_key),
        backend=backend,
        wire=wire,
        catalogue=Catalogue(backend, model_map=settings.model_map, profile=settings.backend_profile),
    )
    try:
        yield visit
    finally:
        await wire.close()
        await backend.close()
