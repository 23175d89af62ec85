import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from datagen.shards.store import Event
from pipelines.dataset.config import JobConfig
from pipelines.dataset.ledger import Ledger


def event(key, kind, number, reason="some reason"):
    return Event(key, kind, number, "render", reason, "what happened", "the log's end")


def test_a_scene_nobody_has_seen_starts_at_nought():
    ledger = Ledger([])
    assert (ledger.draw("000001"), ledger.attempt("000001")) == (0, 0)
    assert not ledger.given_up("000001", JobConfig())


def test_refusals_count_draws_and_failures_count_attempts():
    ledger = Ledger([event("a", "refused", 0), event("a", "refused", 1), event("a", "failed", 0)])
    assert (ledger.draw("a"), ledger.attempt("a")) == (2, 1)


@given(st.permutations(list(itertools.product("ab", ("refused", "failed"), range(3)))))
def test_the_order_of_events_and_their_repetition_change_nothing(order):
    events = [event(*words, reason=f"{words}") for words in order]
    once, twice = Ledger(sorted(events, key=str)), Ledger(events + events)
    job = JobConfig(max_draws=3, max_attempts=3)
    assert once.report(["a", "b"], job) == twice.report(["b", "a"], job)
    assert once.refusals() == twice.refusals()
    assert once.failures() == twice.failures()


def test_a_report_says_what_a_scene_was_given_up_for():
    job = JobConfig(max_draws=9, max_attempts=2)
    events = [
        event("a", "failed", 0, "timed out"),
        event("a", "failed", 1, "worker crashed"),
        event("a", "refused", 5, "too dark"),
    ]
    (line,) = Ledger(events).report(["a"], job).splitlines()
    told = json.loads(line)
    assert told["reason"] == "worker crashed"
    assert told["log_tail"] == "the log's end"
    assert (told["draws"], told["attempts"]) == (6, 2)


def test_more_attempts_take_a_scene_up_again():
    ledger = Ledger([event("a", "failed", n) for n in range(3)])
    assert ledger.given_up("a", JobConfig(max_attempts=3))
    assert not ledger.given_up("a", JobConfig(max_attempts=4))
