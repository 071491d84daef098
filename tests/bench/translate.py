"""What translating an event costs, in microseconds of CPU time: the pure part, without a network.

    python tests/bench/translate.py [--rounds 9]

For text, thinking and arguments, one event at a time and in reads of 64 KiB; with the copier, and the long way that it
must agree with. The least of all rounds is shown: others shared the processor.
"""

import argparse
import json
import time

from gateway.translate.from_backend.answer import StreamTranslator

EVENTS = 2000
READ_BYTES = 64 * 1024
WORDS = [" the", " quick", " brown", " fox", "\n\n", ' "jumps"', " over", " 懒", " dogs", "."]
HEAD = {"id": "chatcmpl-5d1f7c0a9b6e4c2f", "object": "chat.completion.chunk", "created": 1763796129, "model": "bench"}


def event(delta: dict[str, object]) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
    return b"data: " + json.dumps(HEAD | {"choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"


def arguments(text: str, **call: object) -> bytes:
    function = {"arguments": text, **({"name": call.pop("name")} if "name" in call else {})}
    return event({"tool_calls": [{"index": 0, **call, "function": function}]})


STREAMS = {
    "text": [event({"content": WORDS[number % 10]}) for number in range(EVENTS)],
    "thinking": [event({"reasoning_content": WORDS[number % 10]}) for number in range(EVENTS)],
    "arguments": [
        arguments('{"a":"', id="call_1", name="Read"),
        *(arguments("word \\n") for _ in range(EVENTS - 1)),
    ],
}


def cost(events: list[bytes], reads: list[bytes], *, copier: bool) -> float:
    translator = StreamTranslator(copies=copier)
    translator.writer.message_start("msg_1", "m", 1)
    translator.feed(event({"role": "assistant", "content": ""}))
    started = time.process_time()
    for data in reads:
        translator.feed(data)
        translator.writer.take()
    return (time.process_time() - started) / len(events) * 1e6


def main(rounds: int) -> None:
    print(f"{'':12}{'one by one':>24}{'64 KiB at once':>24}")
    print(f"{'':12}{'copier':>12}{'long way':>12}{'copier':>12}{'long way':>12}")
    for name, events in STREAMS.items():
        data = b"".join(events)
        reads = [data[at : at + READ_BYTES] for at in range(0, len(data), READ_BYTES)]
        costs = [
            min(cost(events, given, copier=copier) for _ in range(rounds))
            for given in (events, reads)
            for copier in (True, False)
        ]
        print(f"{name:12}" + "".join(f"{microseconds:12.2f}" for microseconds in costs))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    main(parser.parse_args().rounds)
