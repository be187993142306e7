"""What write-ups say: the precision of printed numbers, and words against printed curves."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelpatch.analysis.documented import (
    Printed,
    documented_number,
    documented_text,
    falls,
    kind_of,
    printed,
    self_check,
    shows,
)
from pixelpatch.errors import UserError


@pytest.mark.parametrize(
    ("text", "times", "low", "high"),
    [
        ("95.01", 1, "95.005", "95.015"),
        ("93", 1, "92.5", "93.5"),
        ("0.0810", 1, "0.08095", "0.08105"),
        ("106", 1000, "105500", "106500"),
        ("-0.5", 1, "-0.55", "-0.45"),
        ("1e3", 1, "500", "1500"),
    ],
)
def test_the_last_printed_digit_gives_the_precision(text: str, times: int, low: str, high: str) -> None:
    shown = printed(text, "here", times)
    assert (shown.low, shown.high) == (Decimal(low), Decimal(high))
    assert shown.half_unit == (Decimal(high) - Decimal(low)) / 2


def test_a_number_that_may_be_cut_off_says_within_what_it_lies() -> None:
    claim = {"documented": "93", "within": ["92.5", "94"]}
    assert documented_number(claim, "here") == (Decimal(93), Decimal("92.5"), Decimal(94))
    with pytest.raises(UserError, match=r"here\.within is 93\.5 to 94, without the documented 93; give its ends"):
        documented_number(claim | {"within": ["93.5", "94"]}, "here")


@given(st.decimals(-1000, 1000, places=3), st.integers(0, 3))
def test_what_rounds_to_the_printed_number_is_within_half_a_unit(value: Decimal, places: int) -> None:
    shown = printed(f"{value:.{places}f}", "here")
    assert shown.low <= value <= shown.high


@pytest.mark.parametrize("text", [95.01, 95, None, "", "about 95", "nan", "inf", "95,01", ["95.01"]])
def test_only_the_text_of_a_number_is_a_printed_number(text: object) -> None:
    with pytest.raises(UserError, match=r"here is .*in quotes"):
        printed(text, "here")


@pytest.mark.parametrize(
    ("claim", "kind", "text"),
    [
        ({"documented": "95.010"}, "number", "95.010"),
        ({"documented": "106", "times": 1000}, "number", "106000"),
        ({"curve": " 2.0  1.50\n1.1 "}, "curve", "2.0 1.50 1.1"),
        ({"falls_every_epoch": True}, "property", "1"),
        ({"dips_at": []}, "property", "1"),
        ({"better_than": "other", "documented": "7.17"}, "better", "7.17"),
        ({"better_than": "other"}, "better", ""),
        ({"not_tested": "needs an A100"}, "number", ""),
    ],
)
def test_kind_and_text_of_a_claim(claim: dict, kind: str, text: str) -> None:
    assert kind_of(claim, "here") == kind
    assert documented_text(claim, "here") == text


def test_a_claim_without_anything_to_test_is_refused() -> None:
    with pytest.raises(UserError, match="here has nothing to test"):
        kind_of({"text": "it is good", "metric": "test/accuracy"}, "here")


def test_falls_are_between_epochs_and_ties_are_none() -> None:
    assert falls([1, 3, 2, 2, 1]) == {(2, 3), (4, 5)}
    assert falls([1.0]) == set()


@given(st.lists(st.integers(-5, 5), min_size=2, max_size=12))
def test_a_curve_shows_exactly_its_own_falls(curve: list[int]) -> None:
    pairs = [list(pair) for pair in falls(curve)]
    assert shows({"dips_at": pairs}, curve)
    assert not shows({"dips_at": [*pairs, [len(curve), len(curve) + 1]]}, curve)
    assert shows({"falls_every_epoch": True}, curve) == (curve == sorted(set(curve), reverse=True))


CURVE = {"metric": "validation/accuracy", "curve": "50.0 60.0 59.5 70.0 70.0"}


@pytest.mark.parametrize(
    ("claim", "outcome"),
    [
        ({"dips_at": [[2, 3]]}, ("consistent", "its table falls at 2–3")),
        ({"dips_at": [[3, 4]]}, ("contradicted", "its table falls at 2–3")),
        ({"falls_every_epoch": True}, ("contradicted", "its table falls at 2–3")),
        ({"documented": "59.5", "epoch": 3}, ("consistent", "its table shows 59.5 at epoch 3")),
        ({"documented": "59", "epoch": 3}, ("consistent", "its table shows 59.5 at epoch 3")),
        ({"documented": "59.6", "epoch": 3}, ("contradicted", "its table shows 59.5 at epoch 3")),
        ({"documented": "59.5", "epoch": 6}, ("contradicted", "its table has only 5 epochs")),
        ({"documented": "70.0"}, None),
        ({"better_than": "other"}, None),
        ({"curve": "1 2 3 4 5"}, None),
    ],
)
def test_words_are_held_against_the_printed_curve(claim: dict, outcome: tuple[str, str] | None) -> None:
    claims = {"printed": CURVE, "said": claim | {"metric": "validation/accuracy"}}
    assert self_check(claims, "said", "here") == outcome
    assert self_check({"said": claims["said"], "other": CURVE | {"metric": "train/loss"}}, "said", "here") is None


@pytest.mark.parametrize(("epoch", "outcome"), [("4", "consistent"), ("5", "contradicted"), ("2", "contradicted")])
def test_the_best_epoch_is_the_first_of_the_highest(epoch: str, outcome: str) -> None:
    claims = {"best": {"metric": "validation/best_epoch", "documented": epoch}, "printed": CURVE}
    assert self_check(claims, "best", "here") == (outcome, "its table is first highest at epoch 4 (70.0)")


@pytest.mark.parametrize(
    ("curve", "words"),
    [
        ("5 4 3 2", "its table falls at every epoch"),
        ("2 3 4 5", "its table never falls"),
        ("5 4 4 3 2", "its table falls at every epoch but 2–3"),
    ],
)
def test_what_a_table_shows_is_said_in_few_words(curve: str, words: str) -> None:
    claims = {
        "falls": {"metric": "train/loss", "falls_every_epoch": True},
        "printed": {"metric": "train/loss", "curve": curve},
    }
    assert self_check(claims, "falls", "here")[1] == words


def test_a_misprinted_curve_is_named() -> None:
    claims = {
        "falls": {"metric": "train/loss", "falls_every_epoch": True},
        "printed": {"metric": "train/loss", "curve": "2.0 l.5"},
    }
    with pytest.raises(UserError, match=r"experiments.pit.claims.printed.curve is 'l.5'"):
        self_check(claims, "falls", "experiments.pit.claims")


def test_a_printed_number_is_exact() -> None:
    assert printed("0.1", "here", 3) == Printed(Decimal("0.3"), Decimal("0.15"), Decimal("0.45"))
