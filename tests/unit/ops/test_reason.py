"""The sentence for each set of facts: what decides comes first."""

import pytest

from alacena.ops.read_explanation import reason
from alacena.ops.server_names import NamedObject

ENTRY = {"valid": True, "why": None, "ended": [], "age_s": 5.0, "fresh_for_s": 50.0, "not_found": False}
FACTS = {
    "memory": None,
    "memory_serves_for_s": 1.0,
    "loading": False,
    "removal_owed": False,
    "hold": False,
    "hold_left_s": None,
    "lease": False,
    "lease_left_s": None,
    "generations": {"t": "aa", "y": "bb"},
    "ended_lately": [],
    "wider": [],
    "entry": None,
}
ALIVE = {"alive": True, "fresh_for_s": 9.0}


@pytest.mark.parametrize(
    ("facts", "code", "words"),
    [
        ({"memory": ALIVE}, "memory", "Fresh for 9.0 s, served from the memory of this process."),
        ({"memory": ALIVE, "memory_serves_for_s": -1.0, "entry": ENTRY}, "redis", "served from Redis"),
        ({"memory": {**ALIVE, "alive": False}, "entry": ENTRY}, "redis", "Fresh for 50 s"),
        ({"entry": {**ENTRY, "fresh_for_s": None}}, "redis", "Fresh for ever"),
        ({"entry": {**ENTRY, "not_found": True}}, "redis", "the source has nothing"),
        ({"entry": {**ENTRY, "fresh_for_s": -3.0}}, "stale", "Expired 3.0 s ago."),
        ({"entry": {**ENTRY, "valid": False, "why": "expired", "fresh_for_s": -3.0}}, "expired", "Expired 3.0 s ago."),
        (
            {"entry": {**ENTRY, "valid": False, "why": "ended: x", "ended": ["type x"]}},
            "invalidated",
            "Invalidated with type x",
        ),
        ({"entry": {"valid": False, "why": "checksum: no"}}, "unreadable", "checksum"),
        ({"entry": ENTRY, "removal_owed": True}, "owed", "not been confirmed"),
        ({"entry": ENTRY, "hold": True, "hold_left_s": 29.0}, "held", "at most 29 s"),
        ({"lease": True, "lease_left_s": 4.0}, "loading", "4.0 s more"),
        ({"loading": True}, "loading", "being loaded by this process"),
        ({"last_outcome": {"reason": "expired", "age_s": 3.0}}, "expired", "Expired 3.0 s ago, as this process"),
        ({"away": "refused"}, "server_away", "does not answer (refused)"),
        ({"wider": [{"agent_id": "a1"}]}, "wider_scope", "agent a1"),
        ({"ended_lately": ["resource document:d1"]}, "invalidated", "resource document:d1"),
        ({"generations": {"t": "aa", "y": None}}, "never", "Never stored"),
        ({}, "absent", "this process has not seen it"),
    ],
)
def test_what_decides_is_said(facts, code, words):
    said = reason({**FACTS, **facts}, "acme")

    assert said.code == code
    assert words in said.sentence


def test_what_is_stored_elsewhere_is_named():
    agent = NamedObject("acme", "document", "d1", {"agent_id": "a1"})
    rival = NamedObject("rival", "document", "d1")

    assert "agent a1" in reason(FACTS, "acme", [rival, agent]).sentence
    assert reason(FACTS, "acme", [rival]).code == "other_tenant"
    assert "rival" in reason(FACTS, "acme", [rival]).sentence


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"memory": None}, "no_server"),
        ({"memory": {"alive": False, "fresh_for_s": 5.0}}, "invalidated"),
        ({"memory": {"alive": True, "fresh_for_s": -5.0}}, "expired"),
        ({"memory": None, "hold": True}, "held"),
        ({"memory": None, "loading": True}, "loading"),
    ],
)
def test_without_a_server_it_is_about_this_process(facts, code):
    assert reason({"memory_serves_for_s": 1.0, **facts}, "acme").code == code


P1 = {"process": "web-1#a", "memory": None, "memory_serves_for_s": 1.0, "loading": False, "last_outcome": None}


@pytest.mark.parametrize(
    ("answer", "code", "words"),
    [
        ({}, "never", "none of the 2 processes"),
        ({"error": "no answer within 3 s"}, "absent", "1 of 1 other processes did not answer"),
        ({"removal_owed": True}, "owed", "A removal of it by web-1#a"),
        ({"loading": True, "loading_for_s": 2.0}, "loading", "by web-1#a (for 2.0 s so far)"),
        ({"loading": True}, "loading", "by web-1#a."),
        ({"memory": ALIVE}, "memory_elsewhere", "served from the memory of web-1#a"),
        ({"memory": {**ALIVE, "fresh_for_s": -3.0}}, "expired", "Expired 3.0 s ago, as web-1#a saw it."),
        ({"memory": {**ALIVE, "alive": False}}, "invalidated", "as web-1#a saw it"),
        ({"last_outcome": {"reason": "expired", "age_s": 3.0}}, "expired", "Expired 3.0 s ago, as web-1#a saw it."),
        ({"last_outcome": {"reason": "evicted", "age_s": 3.0}}, "evicted", "from the memory of web-1#a 3.0 s ago"),
        ({"last_outcome": {"reason": "too_large", "age_s": 3.0}}, "too_large", "when web-1#a loaded it 3.0 s ago"),
        ({"last_outcome": {"reason": "server_away", "age_s": 3.0}}, "server_away", "web-1#a asked for it 3.0 s ago"),
        ({"last_outcome": {"reason": "of a later version", "age_s": 3.0}}, "of a later version", "web-1#a says of it"),
    ],
)
def test_what_another_process_knows_decides_if_the_server_has_nothing(answer, code, words):
    said = reason(FACTS, "acme", (), [{**P1, **answer}])

    assert said.code == code
    assert words in said.sentence


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([], "by another process; none was asked which, or none is listed. Its permission lasts 4.0 s more"),
        ([P1], "by a process that is not listed"),
        (
            [{**P1, "process": "web-1#0a"}],
            "web-1#0a has the permission to load it, and says that it does not load it now",
        ),
        (
            [{"process": "web-1#0a", "error": "no answer within 3 s"}],
            "by web-1#0a, which does not say since when: no answer within 3 s.",
        ),
        (
            [P1, {"process": "web-1#0a", "error": "silent for 7 s", "silent_s": 7.0}],
            "It was being loaded by web-1#0a, which has been silent for 7.0 s: it may have ended.",
        ),
        ([{**P1, "loading": True, "loading_for_s": 2.0}], "by web-1#a (for 2.0 s so far)"),
    ],
)
def test_whose_load_it_is_is_said_also_if_it_does_not_answer(answers, words):
    facts = {**FACTS, "lease": True, "lease_left_s": 4.0, "lease_holder": "0a"}
    said = reason(facts, "acme", (), answers)

    assert said.code == "loading"
    assert words in said.sentence


def test_one_that_is_silent_is_not_counted_among_those_that_were_asked():
    gone = {"process": "web-2#b", "error": "silent for 7 s", "silent_s": 7.0}
    assert reason(FACTS, "acme", (), [P1, gone]).code == "never"
    assert "1 of 1 other processes did not answer" in reason(FACTS, "acme", (), [gone]).sentence


def test_the_newest_outcome_counts_and_names_are_bounded():
    older = {**P1, "last_outcome": {"reason": "evicted", "age_s": 30.0}}
    newer = {**P1, "process": "web-2#b", "last_outcome": {"reason": "expired", "age_s": 3.0}}
    assert reason(FACTS, "acme", (), [older, newer]).code == "expired"
    many = [{**P1, "process": f"web-{number}#a", "loading": True} for number in range(40)]
    assert reason(FACTS, "acme", (), many).sentence.endswith("web-2#a and 37 more.")


@pytest.mark.parametrize(
    "code", ["memory_elsewhere", "too_large", "server_away", "expired", "evicted", "never", "owed"]
)
def test_each_code_has_words_in_the_console(code):
    from importlib.resources import files

    assert f"  why_{code}: [" in files("alacena.ops.console").joinpath("static/words.js").read_text("utf-8")
