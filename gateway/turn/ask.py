"""The third stage of a turn: the call. After a refusal that has a remedy, the request is changed and sent again."""

from functools import partial
from typing import Final

from msgspec import structs

from gateway.backend.connection.call import Call
from gateway.record.request_record import RequestRecord
from gateway.translate.refusals.faults import BackendFault
from gateway.translate.refusals.remedy import Remedy, find_remedy
from gateway.turn.backend_request import BackendRequest, translate
from gateway.turn.context import TurnContext
from gateway.turn.token_estimate import TokenEstimate

# a backend that refuses one field may refuse another
_MOST_REMEDIES: Final = 4


async def ask(
    asked: BackendRequest, estimate: TokenEstimate, context: TurnContext, record: RequestRecord
) -> tuple[BackendRequest, Call]:
    """Call the backend; after each refusal, change the request and call again.

    Returns the request that was accepted, and its call. The profile that the refusals led to is kept for the model,
    unless the client may have put the words of a refusal into the backend's mouth.
    Raises BackendFault for a refusal without a remedy.
    """
    first, tries, learnable = asked.profile, 0, True
    while True:
        source = asked.source
        source.trace.describe(source.request, model=source.model.id, profile=asked.profile.name)
        try:
            call = await context.backend.chat(
                asked.body,
                token=source.token,
                stream=bool(source.request.stream),
                model=source.model.id,
                trace=source.trace,
            )
        except BackendFault as fault:
            tries += 1
            tokens = await estimate.counted()
            remedy = await _remedy(fault, asked, tokens, context) if tries <= _MOST_REMEDIES else None
            if remedy is None:
                raise
            learnable = learnable and remedy.learnable
            asked = await _changed(asked, remedy, context)
        else:
            record.retries = call.retries
            if asked.profile != first and learnable:
                context.catalogue.learn(source.model, asked.profile)
            return asked, call


async def _remedy(fault: BackendFault, asked: BackendRequest, tokens: int, context: TurnContext) -> Remedy | None:
    find = partial(find_remedy, fault, asked.chat, asked.profile, tokens, asked.body)
    return await context.run(asked.source.size, find)


async def _changed(asked: BackendRequest, remedy: Remedy, context: TurnContext) -> BackendRequest:
    source = asked.source
    if remedy.max_tokens is not None:
        source = structs.replace(source, request=structs.replace(source.request, max_tokens=remedy.max_tokens))
    return await translate(source, remedy.profile, context)
