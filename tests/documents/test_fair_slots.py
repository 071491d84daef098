"""Slots are shared out evenly, whoever asks first and most."""

import asyncio

from gateway.documents.fair_slots import FairSlots


class Holders:
    """Owners who take a slot and keep it until they are told to give it back; `order` is who got one."""

    def __init__(self, slots: FairSlots) -> None:
        self.slots = slots
        self.order: list[str] = []
        self.running: list[tuple[asyncio.Task[None], asyncio.Event]] = []

    def want(self, owner: str) -> asyncio.Task[None]:
        done = asyncio.Event()

        async def hold() -> None:
            async with self.slots.slot(owner):
                self.order.append(owner)
                await done.wait()

        task = asyncio.create_task(hold())
        self.running.append((task, done))
        return task

    async def give_back(self, number: int) -> None:
        task, done = self.running[number]
        done.set()
        await task
        await asyncio.sleep(0)

    async def end(self) -> None:
        for task, _ in self.running:
            task.cancel()
        await asyncio.wait([task for task, _ in self.running])


async def test_owners_take_turns(no_leaks: None) -> None:
    holders = Holders(FairSlots(1, 1))
    for owner in "aaab":
        holders.want(owner)
    await asyncio.sleep(0)
    assert holders.order == ["a"]
    await holders.give_back(0)
    await holders.give_back(1)
    assert holders.order == ["a", "a", "b"]
    await holders.end()


async def test_one_owner_never_holds_all(no_leaks: None) -> None:
    holders = Holders(FairSlots(2, 1))
    for owner in "aaab":
        holders.want(owner)
    await asyncio.sleep(0)
    assert holders.order == ["a", "b"]
    await holders.end()


async def test_who_leaves_the_line_takes_nothing_along(no_leaks: None) -> None:
    slots = FairSlots(1, 1)
    holders = Holders(slots)
    for owner in "abc":
        holders.want(owner)
    await asyncio.sleep(0)
    holders.running[1][0].cancel()
    await asyncio.sleep(0)
    await holders.give_back(0)
    assert holders.order == ["a", "c"]
    await holders.give_back(2)
    async with asyncio.timeout(1), slots.slot("d"):
        pass
    await holders.end()


async def test_a_slot_that_was_given_to_who_has_just_left_is_free_again(no_leaks: None) -> None:
    slots = FairSlots(1, 1)
    holders = Holders(slots)
    holders.want("a")
    holders.want("b")
    await asyncio.sleep(0)
    # in one step of the loop, the slot is given to b and b leaves
    holders.running[0][1].set()
    await holders.running[0][0]
    holders.running[1][0].cancel()
    async with asyncio.timeout(1), slots.slot("c"):
        pass
    await holders.end()
