"""The backend's models: lists kept up to date, and the resolution of a client's model name to one of them.

A name is looked up in the list (`model_list`), then in the user's map. One of Claude's that neither has stands for the
only model, if there is only one. Where the list is not the whole truth, the backend is asked for what it lacks.

The list that the backend gives without a token, or for BACKEND_API_KEY, is for everybody. It is fetched at start-up and
every minute. If the backend requires a client's token for its list, each token has a list of its own, as has a token
that asks for a model that is not in the list for everybody. Such a list is fetched by requests, and shown to nobody
else (`listings`). Without a list, any name is accepted.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog
from msgspec import structs

from gateway.backend.adapter import Backend
from gateway.backend.models.listings import Listing, PrivateListings
from gateway.backend.models.model_list import ModelList, without_suffix
from gateway.backend.models.model_map import ModelMap
from gateway.backend.profiles import profile_for_host, profile_for_model, profile_for_owner
from gateway.openai.models import Model
from gateway.openai.profile import GENERIC, Profile
from gateway.translate.refusals.faults import BackendFault

REFRESH_SECONDS: Final = 60.0
# an unknown name causes a new fetch, but not more often than this
_MISS_SECONDS: Final = 5.0
# a backend that has not answered yet may be starting; one that refuses its list may soon provide it
_UNREACHED_SECONDS: Final = 2.0
_UNLOADED_SECONDS: Final = 15.0
# after a day, the plain request is tried again: the backend may have changed
_LEARNT_SECONDS: Final = 24 * 3600.0
# a backend without a list has as many models as clients name
_MOST_LEARNT: Final = 1000
# models whose profile is kept
_MOST_PROFILES: Final = 256

# the names of Claude Code's own models, which it asks for in side tasks whatever the user chose
_CLAUDE: Final = "claude-"

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
        self._shared = Listing(backend, clock)
        self._private = PrivateListings(lambda: Listing(backend, clock))
        # by model, with the time at which it is forgotten; the one used last is the last
        self._learnt: OrderedDict[str, tuple[Profile, float]] = OrderedDict()
        self._profiles: dict[tuple[str, str | None, str | None, bool | None], Profile] = {}
        self._without_effort: set[str] = set()
        self._reached = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._tell: Callable[[BackendFault | None], None] | None = None
        # the outcome of the last fetch for everybody; empty before the first
        self._outcome: list[BackendFault | None] = []

    @property
    def models(self) -> list[Model]:
        """The models that the backend lists for everybody, in its order. What a client's token fetched is not here."""
        return self._shared.list.models

    @property
    def loaded(self) -> bool:
        """Whether the backend has provided its list for everybody at least once."""
        return self._shared.loaded

    @property
    def reached(self) -> bool:
        """Whether the backend has answered at least once, even if only to refuse its list."""
        return self._reached

    def has(self, model_id: str) -> bool:
        """Whether the list for everybody has a model with exactly this id."""
        return model_id in self._shared.list

    def start(self) -> None:
        """Fetch now and every minute, in the background."""
        self._run(self._keep_fresh())

    def watch(self, tell: Callable[[BackendFault | None], None]) -> None:
        """Call `tell` with the outcome of the last fetch for everybody, if any, and of each further one: None, or why
        it failed.
        """
        self._tell = tell
        for outcome in self._outcome:
            tell(outcome)

    async def stop(self) -> None:
        """End the background work."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def resolve(self, name: str, token: str | None, *, listed: bool = True) -> Model:
        """The backend's model for a client's name, from the list that this token may see.

        With `listed` false, it may also be one that the backend may have without listing it: what the user's map gives,
        or any name, if the backend is known to list only a part. Raises ApiError 404, its message naming the nearest
        and the available models.
        """
        listing, model = self._look_up(name, token)
        if model is None and await self._first_fetch():
            listing, model = self._look_up(name, token)
        if model is None:
            own = self._own(token)
            if self._clock() - own.asked_at >= (_MISS_SECONDS if own.loaded else REFRESH_SECONDS):
                await self._refresh(own, token)
            listing, model = self._look_up(name, token)
        if model is not None:
            if self._clock() - listing.fetched_at >= 2 * REFRESH_SECONDS:
                self._refresh_soon(token)
            return model
        target = self._map.target(name)
        if not listing.list or (target is not None and not listed):
            return Model(id=without_suffix(target or name), owned_by=listing.list.owner)
        if target is None and not listed and (unlisted := self._unlisted(name, listing.list)) is not None:
            return unlisted
        raise listing.list.unknown(target or name)

    def _unlisted(self, name: str, models: ModelList) -> Model | None:
        """The model of a name that a list lacks, if the backend may have it all the same."""
        profile = self._profile or profile_for_owner(models.owner) or GENERIC
        if profile.lists_all or name.lower().startswith(_CLAUDE):
            return None
        if (variant := models.variant(name)) is not None:
            return variant
        # of a backend of an unknown kind, a list is the best that there is; one that is known to list a part is asked
        return None if profile.name == GENERIC.name else Model(id=without_suffix(name), owned_by=models.owner)

    async def listed(self, token: str | None) -> list[Model]:
        """The models for a client that requests the list. Raises BackendFault if the backend provides none."""
        if not self._visible(token).loaded:
            await self._first_fetch()
        listing = self._visible(token)
        if not listing.loaded:
            await self._refresh(listing, token)
            if listing.fault is not None:
                raise listing.fault
        elif self._clock() - listing.fetched_at >= 2 * REFRESH_SECONDS:
            self._refresh_soon(token)
        return listing.list.models

    def _visible(self, token: str | None) -> Listing:
        """The listing that a token may see: its own if it has a list, otherwise the one for everybody."""
        own = self._private.get(token) if token and not self._backend.has_key else None
        if own is not None and own.loaded:
            return own
        return self._shared if self._shared.loaded else self._own(token)

    def _own(self, token: str | None) -> Listing:
        """The listing that a fetch with this token fills."""
        return self._private.of(token) if token and not self._backend.has_key else self._shared

    def _look_up(self, name: str, token: str | None) -> tuple[Listing, Model | None]:
        """The listing that a token may see, and its model of this name, or the one that the user's map gives for it."""
        listing = self._visible(token)
        model = listing.list.find(name)
        if model is None and (target := self._map.target(name)) is not None:
            model = listing.list.find(target)
        elif model is None and name.lower().startswith(_CLAUDE):
            model = listing.list.only
        return listing, model

    def profile(self, model: Model) -> Profile:
        """The profile for requests to a model: the one learnt from its refusals, otherwise the one by host or list."""
        if learnt := self._learnt.get(model.id):
            profile, until = learnt
            if self._clock() < until:
                self._learnt.move_to_end(model.id)
                return profile
            del self._learnt[model.id]
        kind = model.id, model.root, model.owned_by, model.sees_images
        if known := self._profiles.get(kind):
            return known
        profile = self._profile or profile_for_owner(model.owned_by) or GENERIC
        if model.sees_images is False:
            profile = structs.replace(profile, sees_images=False)
        profile = profile_for_model(profile, f"{model.id} {model.root or ''}")
        if len(self._profiles) < _MOST_PROFILES:
            self._profiles[kind] = profile
        return profile

    def effort_ignored(self, model: Model) -> None:
        """Say, once for each model, that clients ask for an effort or a budget that changes nothing."""
        if model.id not in self._without_effort and len(self._without_effort) < _MOST_LEARNT:
            self._without_effort.add(model.id)
            log.info("nothing is known to set this model's effort or thinking budget", model=model.id)

    def learn(self, model: Model, profile: Profile) -> None:
        """Use this profile for a model for a day. Of a thousand models, the one not used for longest is forgotten."""
        log.info("profile learnt", model=model.id, profile=profile.name)
        self._learnt[model.id] = profile, self._clock() + _LEARNT_SECONDS
        self._learnt.move_to_end(model.id)
        if len(self._learnt) > _MOST_LEARNT:
            self._learnt.popitem(last=False)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="model list")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_fresh(self) -> None:
        while True:
            await self._refresh(self._shared, None)
            if self.loaded:
                await asyncio.sleep(REFRESH_SECONDS)
            else:
                await asyncio.sleep(_UNLOADED_SECONDS if self._reached else _UNREACHED_SECONDS)

    async def _first_fetch(self) -> bool:
        """Wait for the first list for everybody if it is being fetched. Returns whether it was."""
        waits = not self.loaded and self._shared.busy
        if waits:
            await self._refresh(self._shared, None)
        return waits

    def _refresh_soon(self, token: str | None) -> None:
        """Fetch in the background, but not more often than after misses: the fetches for everybody fail, or the list is
        this token's own.
        """
        own = self._own(token)
        if not own.busy and self._clock() - own.asked_at >= _MISS_SECONDS:
            self._run(self._refresh(own, token))

    async def _refresh(self, listing: Listing, token: str | None) -> None:
        if not await listing.refresh(token):
            return
        fault = listing.fault
        self._reached = self._reached or fault is None or fault.status < 500
        if listing is not self._shared:
            if fault is None:
                self._private.fetched(listing, self._shared.list)
            return
        self._outcome = [fault]
        if self._tell is not None:
            self._tell(fault)
