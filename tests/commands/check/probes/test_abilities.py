import base64
import struct
import zlib
from typing import Any

import pytest

from tests.commands.check.conftest import Able, Run, brain, error, words

NOTE = "images become a note in the prompt; for images, use a model that accepts them: --model NAME"


def with_images(body: dict[str, Any]) -> bool:
    return "image_url" in str(body["messages"])


async def test_the_test_image_is_a_red_png(able: Able, run: Run) -> None:
    await run(able.url)

    sent = next(body for body in able.bodies if with_images(body))
    url = next(part for part in sent["messages"][0]["content"] if part["type"] == "image_url")["image_url"]["url"]
    image = base64.b64decode(url.removeprefix("data:image/png;base64,"))
    width, height = struct.unpack(">II", image[16:24])
    packed = image[image.index(b"IDAT") + 4 : image.index(b"IEND") - 8]
    assert (image[:8], width, height) == (b"\x89PNG\r\n\x1a\n", 64, 64)
    assert zlib.decompress(packed)[1:4] == b"\xe0\x10\x10"


async def test_a_model_that_says_it_takes_no_images_is_not_asked(able: Able, run: Run) -> None:
    able.models["data"][0]["architecture"] = {"input_modalities": ["text"]}

    row = (await run(able.url)).row("images")

    assert (row["mark"], row["said"]) == ("partly", "according to the model list, this model accepts no images")
    assert row["remedy"] == NOTE
    assert not any(with_images(body) for body in able.bodies)


async def test_a_model_that_refuses_images(able: Able, run: Run) -> None:
    able.refuse = lambda body: error(400, "tiny is not a multimodal model") if with_images(body) else None

    checked = await run(able.url)

    row = checked.row("images")
    assert (checked.code, row["mark"], row["said"], row["remedy"]) == (
        0,
        "partly",
        "this model accepts no images",
        NOTE,
    )
    assert checked.row("workarounds")["said"] == "refused, then sent differently: sees_images = False"


async def test_a_backend_that_fails_at_images(able: Able, run: Run) -> None:
    able.refuse = lambda body: error(500, "mtmd failed") if with_images(body) else None

    checked = await run(able.url)

    row = checked.row("images")
    assert (checked.code, row["mark"], row["said"]) == (0, "bad", "backend: mtmd failed")
    assert "or paste none" in row["remedy"]


async def test_images_that_nobody_looks_at(able: Able, run: Run) -> None:
    able.brain = lambda body: words("A cat.") if with_images(body) else brain(body)

    row = (await run(able.url)).row("images")

    assert row["mark"] == "unknown"
    assert "drop images silently" in row["remedy"]


@pytest.mark.parametrize(
    ("answer", "refused", "mark", "said"),
    [
        ("not JSON", False, "partly", "the answer does not match the schema"),
        ('{"title": 5}', False, "partly", "the answer does not match the schema"),
        ('```json\n{"title": "A", "words": 1}\n```', False, "good", "the answer matches the schema (response_format)"),
        (
            '{"title": "A", "words": 1}',
            True,
            "partly",
            "response_format is refused, but the model follows the schema when the prompt states it",
        ),
        (
            "not JSON",
            True,
            "partly",
            "response_format is refused, and the model does not follow a schema in the prompt",
        ),
    ],
)
async def test_answers_by_a_schema(answer: str, refused: bool, mark: str, said: str, able: Able, run: Run) -> None:
    able.brain = lambda body: words(answer) if "short story" in str(body["messages"]) else brain(body)
    if refused:
        able.refuse = lambda body: (
            error(400, "This response_format type is unavailable now") if "response_format" in body else None
        )

    checked = await run(able.url)

    row = checked.row("schema")
    assert (checked.code, row["mark"], row["said"]) == (0, mark, said)
    if refused:
        assert checked.row("workarounds")["facts"] == {"learnt": ["without `response_format`"]}
        assert checked.row("workarounds")["remedy"].startswith("nothing to do: the gateway learns this")


async def test_a_schema_that_takes_too_long(able: Able, run: Run) -> None:
    able.finish = lambda body: "length" if "response_format" in body else ""

    row = (await run(able.url)).row("schema")

    assert (row["mark"], row["said"]) == ("unknown", "the answer was not complete within 128 tokens")
