"""The third stage of a turn: the call. A refusal that can be helped is followed by a request that avoids it."""

from typing import Final

from msgspec import structs

from gateway.backend.connection.call import Call
from gateway.record.request_record import RequestRecord
from gateway.translate.refusals.faults import BackendFault
from gateway.translate.refusals.remedy import Remedy, find_remedy
from gateway.turn.backend_request import BackendRequest, translate
from gateway.turn.context import TurnContext
from gateway.turn.token_estimate import TokenEstimate

# a backend that refuses one field may refuse the next
_MOST_REMEDIES: Final = 4


async def ask(
    asked: BackendRequest, estimate: TokenEstimate, context: TurnContext, record: RequestRecord
) -> tuple[BackendRequest, Call]:
    """Ask the backend, after each refusal in the way that avoids it. Gives the request that was taken, and its call.

    What the refusals taught is kept for the model. Raises BackendFault for a refusal that cannot be helped.
    """
    first, tries = asked.profile, 0
    while True:
        source = asked.source
        source.trace.describe(source.request, model=source.model.id, profile=asked.profile.name)
        try:
            call = await context.backend.chat(
                asked.body, token=source.token, stream=bool(source.request.stream), trace=source.trace
            )
        except BackendFault as fault:
            tries += 1
            tokens = await estimate.counted()
            remedy = find_remedy(fault, asked.chat, asked.profile, tokens) if tries <= _MOST_REMEDIES else None
            if remedy is None:
                raise
            asked = await _changed(asked, remedy, context)
        else:
            record.retries = call.retries
            if asked.profile != first:
                context.catalogue.learn(source.model, asked.profile)
            return asked, call


async def _changed(asked: BackendRequest, remedy: Remedy, context: TurnContext) -> BackendRequest:
    source = asked.source
    if remedy.max_tokens is not None:
        source = structs.replace(source, request=structs.replace(source.request, max_tokens=remedy.max_tokens))
    return await translate(source, remedy.profile, context)
