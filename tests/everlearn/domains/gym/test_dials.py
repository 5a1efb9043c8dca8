"""What a statement of the family `gym` is, and nothing else."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everlearn.domains.gym.dials import SEEDS, DialSetting, read_setting
from everlearn.errors import GrammarError

DIALS = {"num_terms": 11, "num_digits": 10}
settings = st.builds(
    lambda terms, digits, seed, check: DialSetting(
        levels=(("num_terms", terms), ("num_digits", digits)), seed=seed, check=check
    ),
    st.integers(0, 10),
    st.integers(0, 9),
    st.integers(0, SEEDS - 1),
    st.sampled_from(["", "1f3a9c20", "00000000"]),
)


@given(settings)
def test_a_setting_is_read_as_it_is_written(setting: DialSetting) -> None:
    assert read_setting(str(setting), dials=DIALS) == setting


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("num_terms 2, num_digits 1, seed 17", "num_terms 2, num_digits 1, seed 17"),
        ("seed 17", "num_terms 0, num_digits 0, seed 17"),
        (" seed  17 ,num_digits\t9", "num_terms 0, num_digits 9, seed 17"),
        (f"seed {SEEDS - 1}", f"num_terms 0, num_digits 0, seed {SEEDS - 1}"),
    ],
)
def test_the_normal_form_names_every_dial(text: str, normal: str) -> None:
    assert str(read_setting(text, dials=DIALS)) == normal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write the levels and the seed as in 'num_terms 10, num_digits 9, seed 17'"),
        ("17", "write the levels"),
        ("seed 017", "write the levels"),
        ("seed -1", "write the levels"),
        ("seed \u0661\u0667", "write the levels"),
        ("seed 17,", "write the levels"),
        ("seed 17; num_terms 1", "write the levels"),
        ("seed 17 " + " " * 1000, "write the levels"),
        ("Seed 17", "write the levels"),
        ("seed 12345678901", "write the levels"),
        (f"seed {SEEDS}", f"seed {SEEDS}: it is at most {SEEDS - 1}"),
        ("seed 1, seed 1", "seed is given twice"),
        ("num_terms 11, seed 1", "num_terms 11: it is at most 10"),
        ("terms 1, seed 1", "no dial terms"),
        ("num_terms 1", "no seed"),
        ("seed 1, check 1F3A9C20", "write the levels"),
        ("seed 1, check 1f3a9c2", "write the levels"),
        ("check 1f3a9c20, seed 1", "write the levels"),
        ("seed 1, check 00000000, check 00000000", "write the levels|no dial check"),
        ("check 00000000", "write the levels|no dial check"),
    ],
)
def test_anything_else_is_refused(text: str, message: str) -> None:
    with pytest.raises(GrammarError, match=message):
        read_setting(text, dials=DIALS)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_setting(text, dials=DIALS)
    except GrammarError as error:
        assert len(str(error)) < 400  # noqa: PT017 (both outcomes are right)


def test_a_long_text_is_refused_at_once() -> None:
    started = time.process_time()
    for unit in ("seed 1, ", ",", " ", "a"):
        with pytest.raises(GrammarError):
            read_setting(unit * 1_000_000, dials=DIALS)
    assert time.process_time() - started < 1


def test_a_dial_is_turned_down_to_its_lowest_level() -> None:
    setting = read_setting("num_terms 1, seed 1", dials=DIALS)
    assert setting.size == 2
    setting = read_setting("num_terms 1, seed 1, check 1f3a9c20", dials=DIALS)
    lower = setting.turned_down("num_terms", seed=5)
    assert str(lower) == "num_terms 0, num_digits 0, seed 5"
    assert setting.turned_down("num_digits", seed=5) is None
    assert setting.turned_down("no such dial", seed=5) is None
