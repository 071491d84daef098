import pytest

from gateway.commands.check.secrets import Secrets

TOKEN = "cpk_a1b2c3d4e5f6g7h8"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"bad key {TOKEN}!", "bad key …!"),
        (f"bad key {TOKEN[:9]}***{TOKEN[-8:]}", "bad key …***…"),
        ("keys begin with cpk_a1b", "keys begin with cpk_a1b"),
        ("any\x1b[2Jtext\u202e\n", "any [2Jtext  "),
        ("", ""),
    ],
)
def test_runs_of_a_secret_are_taken_out(text: str, shown: str) -> None:
    assert Secrets(TOKEN).clean(text) == shown


def test_everything_inside_is_cleaned() -> None:
    assert Secrets("", TOKEN).clean({TOKEN: [TOKEN, 5, (None, f"a {TOKEN}")]}) == {"…": ["…", 5, [None, "a …"]]}


def test_a_short_secret_is_taken_out_of_what_others_say() -> None:
    secrets = Secrets("hunter2")

    assert secrets.quote("the key hunter2 is wrong, hunter22 is not it") == "the key … is wrong, hunter22 is not it"
    assert secrets.clean("hunter2") == "hunter2"


def test_foreign_texts_are_one_line_and_not_too_long() -> None:
    quoted = Secrets().quote("one\ntwo\t" + "x" * 1000)

    assert quoted.startswith("one two xxx")
    assert (len(quoted), quoted[-1]) == (400, "…")
