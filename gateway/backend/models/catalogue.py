"""The backend's models: a list kept up to date, and the resolution of a client's model name to one of them.

A name is looked up in the list: as it is, in any case, without `[1m]`, and without the `claude-` prefix that the list
for clients adds; then in the user's map.

The list is fetched at start-up, every minute, and when a name is not in it. If a backend requires a key for its list,
the token of a client whose request needs the list is used; tokens are not kept. Without a list, any name is accepted.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from difflib import get_close_matches
from typing import Any, Final

import structlog
from msgspec import structs

from gateway.anthropic.errors import ApiError
from gateway.backend.adapter import Backend
from gateway.backend.models.model_map import ModelMap
from gateway.backend.profiles import profile_for_host, profile_for_owner
from gateway.openai.models import Model
from gateway.openai.profile import GENERIC, Profile
from gateway.translate.refusals.faults import BackendFault

REFRESH_SECONDS: Final = 60.0
# an unknown name causes a new fetch, but not more often than this
_MISS_SECONDS: Final = 5.0
# a backend that has not answered yet may be starting; one that refuses its list may soon provide it
_UNREACHED_SECONDS: Final = 2.0
_UNLOADED_SECONDS: Final = 15.0
_NAMES_SHOWN: Final = 20
# Claude Code's suffix for a long context, which it removes itself; other clients may not
_LONG_CONTEXT: Final = "[1m]"
# Claude Code shows only models whose id contains "claude" or "anthropic"
_ALIAS: Final = "claude-"
_SHOWN: Final = ("claude", "anthropic")

log = structlog.get_logger(__name__)


class Catalogue:
    """The models of one backend."""

    def __init__(
        self,
        backend: Backend,
        *,
        model_map: ModelMap | None = None,
        profile: Profile | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`profile` is the one that the user chose; without it, the host name and the list decide."""
        self._backend = backend
        self._map = model_map or ModelMap()
        self._profile = profile or profile_for_host(backend.endpoint.host)
        self._clock = clock
        self._models: dict[str, Model] = {}
        self._by_lower_case: dict[str, Model] = {}
        self._learnt: dict[str, Profile] = {}
        self._profiles: dict[str, Profile] = {}
        self._loaded = self._reached = False
        self._asked_at = float("-inf")
        self._lock = asyncio.Lock()
        self._fetched_at = float("-inf")
        self._tasks: set[asyncio.Task[None]] = set()
        self._tell: Callable[[BackendFault | None], None] | None = None
        # the outcome of the last fetch; empty before the first
        self._outcome: list[BackendFault | None] = []

    @property
    def models(self) -> list[Model]:
        """The models, in the backend's order."""
        return list(self._models.values())

    @property
    def loaded(self) -> bool:
        """Whether the backend has provided its list at least once."""
        return self._loaded

    @property
    def reached(self) -> bool:
        """Whether the backend has answered at least once, even if only to refuse its list."""
        return self._reached

    def has(self, model_id: str) -> bool:
        """Whether the list has a model with exactly this id."""
        return model_id in self._models

    def start(self) -> None:
        """Fetch now and every minute, in the background."""
        self._run(self._keep_fresh())

    def watch(self, tell: Callable[[BackendFault | None], None]) -> None:
        """Call `tell` with the outcome of the last fetch, if any, and of each further one: None, or why it failed."""
        self._tell = tell
        for outcome in self._outcome:
            tell(outcome)

    async def stop(self) -> None:
        """End the background work."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def resolve(self, name: str, token: str | None) -> Model:
        """The backend's model for a client's name.

        Raises ApiError 404, its message naming the nearest and the available models.
        """
        model = self._mapped(name)
        if model is None and self._clock() - self._asked_at >= (_MISS_SECONDS if self._loaded else REFRESH_SECONDS):
            await self._refresh(token)
            model = self._mapped(name)
        if model is not None:
            if self._clock() - self._fetched_at >= 2 * REFRESH_SECONDS and not self._lock.locked():
                # the background fetches fail: the backend requires a token for its list
                self._run(self._refresh(token))
            return model
        name = self._map.target(name) or name
        if not self._models:
            return Model(id=_bare(name))
        raise self._unknown(name)

    async def listed(self, token: str | None) -> list[Model]:
        """The models for a client that requests the list. Raises BackendFault if the backend provides none."""
        if not self._loaded:
            self._set(await self._backend.models(token))
        return self.models

    def find(self, name: str) -> Model | None:
        """The model of this name in the current list; None if there is none."""
        if model := self._models.get(name):
            return model
        bare = _bare(name)
        for candidate in (name, bare, bare.lower().removeprefix(_ALIAS)):
            if model := self._models.get(candidate) or self._by_lower_case.get(candidate.lower()):
                return model
        return None

    def _mapped(self, name: str) -> Model | None:
        """The model of this name, or the one that the user's map gives for it."""
        model = self.find(name)
        if model is None and (target := self._map.target(name)) is not None:
            model = self.find(target)
        return model

    def profile(self, model: Model) -> Profile:
        """The profile for requests to a model: the one learnt from its refusals, otherwise the one by host or list."""
        if known := self._learnt.get(model.id) or self._profiles.get(model.id):
            return known
        profile = self._profile or profile_for_owner(model.owned_by) or GENERIC
        if model.sees_images is False:
            profile = structs.replace(profile, sees_images=False)
        if model.id in self._models:
            # not kept for unlisted models: clients may name any number of them
            self._profiles[model.id] = profile
        return profile

    def learn(self, model: Model, profile: Profile) -> None:
        """Use this profile for a model from now on."""
        log.info("profile learnt", model=model.id, profile=profile.name)
        self._learnt[model.id] = profile

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="model list")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_fresh(self) -> None:
        while True:
            await self._refresh(None)
            if self._loaded:
                await asyncio.sleep(REFRESH_SECONDS)
            else:
                await asyncio.sleep(_UNLOADED_SECONDS if self._reached else _UNREACHED_SECONDS)

    async def _refresh(self, token: str | None) -> None:
        """Fetch the list, one fetch at a time; a caller that waited for another's fetch does not fetch again."""
        asked = self._asked_at
        async with self._lock:
            if self._asked_at != asked:
                return
            try:
                self._set(await self._backend.models(token))
            except BackendFault as fault:
                self._reached = self._reached or fault.status < 500
                self._note(fault)
                log.debug("model list not fetched", status=fault.status, reason=fault.message)
            finally:
                # a refusal without a token says nothing about the next request, which has one
                if token is not None or self._loaded:
                    self._asked_at = self._clock()

    def _set(self, models: list[Model]) -> None:
        self._models = {model.id: model for model in models}
        self._profiles.clear()
        self._by_lower_case = {model.id.lower(): model for model in reversed(models)}
        self._loaded = self._reached = True
        self._fetched_at = self._clock()
        self._note(None)

    def _note(self, outcome: BackendFault | None) -> None:
        self._outcome = [outcome]
        if self._tell is not None:
            self._tell(outcome)

    def _unknown(self, name: str) -> ApiError:
        by_lower_case = self._by_lower_case
        near = [by_lower_case[match].id for match in get_close_matches(name.lower(), by_lower_case, n=3, cutoff=0.5)]
        ids = list(self._models)
        shown = ", ".join(ids[:_NAMES_SHOWN]) + (f" and {len(ids) - _NAMES_SHOWN} more" * (len(ids) > _NAMES_SHOWN))
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        return ApiError(
            404,
            f"model: {name[:200]!r} is not served by this backend.{hint} Available: {shown}. Choose one, or "
            "map the name with MODEL_MAP.",
        )


def alias(model_id: str) -> str | None:
    """The id under which Claude Code's model picker shows a model; None if it shows the model's own id."""
    return None if any(word in model_id.lower() for word in _SHOWN) else f"{_ALIAS}{model_id}"


def _bare(name: str) -> str:
    return name.removesuffix(_LONG_CONTEXT)
