"""The submit protocol, row by row: what a create call's end means, and how a doubt is resolved."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from batcher.generations import Fate, Generation, GenerationStatus, Look, Posted, Refusal, RefusalKind, Sight
from batcher.policy.submission import (
    MAX_DEAF_LOOKS,
    MAX_ROUNDS,
    MAX_SILENT_LOOKS,
    Action,
    Evidence,
    after_back,
    after_look,
    after_post,
    after_proof,
    after_rest,
    decide,
    quiet_window_s,
)

ID = "autumn-0123456789abcdef01234567-a1"

FRESH = Evidence()
INHERITED = Evidence(doubt=True, history=True, posts=1)
"""A dead run left the row in `submitting`: its call may have been made."""
CONTROLLED = {"finds_ids": True}


def generation(external_task_id=ID) -> Generation:
    return Generation(id="845", status=GenerationStatus.SUBMITTED, external_task_id=external_task_id)


def refused(kind: RefusalKind, *, fate: Fate = Fate.REFUSED, http_status: int = 400, **more) -> Posted:
    return Posted(fate=fate, refusal=Refusal(kind=kind, code="1", message="no", http_status=http_status, **more))


ENDS = {
    "taken": Posted(fate=Fate.ACCEPTED, generation=generation()),
    "lost": Posted(fate=Fate.AMBIGUOUS, detail="no answer"),
    "unsent": Posted(fate=Fate.NOT_SENT),
    "busy": refused(RefusalKind.BUSY, http_status=429),
    "key": refused(RefusalKind.KEY, http_status=401),
    "funds": refused(RefusalKind.FUNDS, http_status=429),
    "content": refused(RefusalKind.CONTENT),
    "invalid": refused(RefusalKind.INVALID),
    "exists": refused(RefusalKind.INVALID, fate=Fate.EXISTS),
    "check": refused(RefusalKind.INVALID, fate=Fate.CHECK),
    "field": refused(RefusalKind.INVALID, fate=Fate.CHECK, names_a_field=True),
}

LOOKS = {
    "ours": Look(sight=Sight.FOUND, generation=generation()),
    "nameless": Look(sight=Sight.FOUND, generation=generation(None)),
    "another's": Look(sight=Sight.FOUND, generation=generation("spring-1-a1")),
    "absent": Look(sight=Sight.ABSENT),
    "deaf": Look(
        sight=Sight.SILENT, refusal=Refusal(kind=RefusalKind.INVALID, code="1", message="", http_status=404)
    ),
    "trouble": Look(
        sight=Sight.SILENT, refusal=Refusal(kind=RefusalKind.UNAVAILABLE, code="1", message="", http_status=503)
    ),
    "unreachable": Look(sight=Sight.SILENT, answered=False),
}


def told(e: Evidence, action: Action, answer: str) -> Evidence:
    """The evidence after an action whose answer goes by a short name."""
    match action:
        case Action.POST:
            return after_post(e, ENDS[answer])
        case Action.LOOK:
            return after_look(e, LOOKS[answer], external_task_id=ID)
        case Action.PROVE:
            return after_proof(e, finds_ids={"works": True, "fails": False, "silent": None}[answer])
        case Action.HOLD:
            return replace(e, may_learn=False, can_prove=answer == "control")
        case Action.REST:
            return after_rest(e)
        case Action.BACK:
            return after_back(e)
    raise AssertionError(f"{action} is an end")


def follow(e: Evidence, story: str) -> Evidence:
    """Hold `decide` to a story such as `post:lost rest look:absent park`."""
    for number, step in enumerate(story.split()):
        word, _, answer = step.partition(":")
        action = Action(word.replace("-", " "))
        assert decide(e) is action, f"step {number} of {story}"
        if action not in (Action.ACCEPT, Action.BELIEVE, Action.GIVE_UP, Action.PARK):
            e = told(e, action, answer)
    return e


# ---- the outcome of a create call ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("end", "next_action"),
    [
        ("taken", Action.ACCEPT),
        ("unsent", Action.BACK),
        ("busy", Action.BELIEVE),
        ("key", Action.BELIEVE),
        ("funds", Action.BELIEVE),
        ("content", Action.BELIEVE),
        ("invalid", Action.BELIEVE),
        ("exists", Action.LOOK),
        ("check", Action.LOOK),
        ("field", Action.LOOK),
        ("lost", Action.REST),
    ],
)
def test_each_end_of_a_first_call_has_its_own_next_step(end, next_action):
    assert decide(after_post(FRESH, ENDS[end])) is next_action


def test_a_call_that_was_not_sent_burns_nothing():
    """Same id, same evidence, once the wait is over."""
    assert follow(FRESH, "post:unsent back post:unsent back post:taken accept").posts == 1


def test_only_calls_that_left_are_counted():
    assert [after_post(FRESH, ENDS[end]).posts for end in ("unsent", "lost", "busy", "exists")] == [0, 1, 1, 1]


# ---- a doubt and its resolution -----------------------------------------------------------------------------------

ONE = "post:lost rest look:absent "
AGAIN = ONE * MAX_ROUNDS


@pytest.mark.parametrize(
    ("story", "known"),
    [
        pytest.param("post:lost rest look:ours accept", {}, id="found: paid for, and ours"),
        pytest.param(ONE + "post:taken accept", CONTROLLED, id="excluded by a gateway that finds: the same id again"),
        pytest.param(
            "post:lost rest look:absent prove:works post:taken accept", {"can_prove": True}, id="proved in time"
        ),
        pytest.param("post:lost rest look:absent prove:fails park", {"can_prove": True}, id="it cannot find: parked"),
        pytest.param(
            "post:lost rest look:absent prove:silent park", {"can_prove": True}, id="a proof without an answer: none"
        ),
        pytest.param(
            "post:lost rest look:absent prove:silent post:taken accept",
            {"can_prove": True, "refuses_ids": True},
            id="... and it says nothing against what else is known",
        ),
        pytest.param(ONE + "park", {}, id="absent, but nothing to prove the look with: parked"),
        pytest.param(ONE + "park", {"finds_ids": False}, id="absent means nothing there: parked"),
        pytest.param(
            ONE + "post:exists look:absent rest look:absent park",
            {"refuses_ids": True},
            id="cannot find but refuses: sending again is safe, and tells",
        ),
        pytest.param(ONE + "post:taken accept", {"refuses_ids": True}, id="it refuses used ids and took this one"),
        pytest.param(AGAIN + "park", {"refuses_ids": True}, id="sending again does not help for ever"),
        pytest.param(AGAIN + "give-up", CONTROLLED, id="three calls came to nothing, each excluded: not bought"),
        pytest.param("post:lost rest look:nameless park", {}, id="a generation without our id proves nothing"),
        pytest.param(
            "post:lost rest look:nameless prove:works accept",
            {"can_prove": True},
            id="... unless the gateway can find",
        ),
        pytest.param(
            "post:lost rest look:nameless prove:fails park", {"can_prove": True}, id="... or answers any id at all"
        ),
        pytest.param(
            ONE + "hold:control prove:works post:taken accept",
            {"may_learn": True},
            id="another task of the run brought the control",
        ),
        pytest.param(ONE + "hold:alone park", {"may_learn": True}, id="no other task brought one: parked"),
        pytest.param(
            "post:lost rest look:nameless hold:control prove:works accept",
            {"may_learn": True},
            id="named by a control",
        ),
        pytest.param("post:lost rest look:another's look:ours accept", {}, id="another's generation is no answer"),
    ],
)
def test_an_ambiguous_call_rests_and_is_looked_up_before_anything_else(story, known):
    follow(replace(FRESH, **known), story)


@pytest.mark.parametrize(
    ("story", "known"),
    [
        pytest.param("rest look:ours accept", {}, id="it was made"),
        pytest.param("rest look:absent post:taken accept", CONTROLLED, id="it was not"),
        pytest.param("rest look:absent park", {}, id="nobody can tell"),
        pytest.param("rest look:absent post:busy believe", CONTROLLED, id="excluded: a refusal is then the truth"),
        pytest.param(
            "rest look:absent post:unsent back post:taken accept", CONTROLLED, id="not sent changes nothing"
        ),
        pytest.param(
            "rest look:absent post:busy back rest look:absent post:taken accept",
            {"refuses_ids": True},
            id="slots full is waited out, and the doubt stays",
        ),
        pytest.param(
            "rest look:absent post:content rest look:absent park", {"refuses_ids": True}, id="so it does here"
        ),
        pytest.param(
            "rest look:absent post:content rest look:ours accept", {"refuses_ids": True}, id="the first call"
        ),
    ],
)
def test_what_a_dead_run_left_behind_is_resolved_like_any_doubt(story, known):
    follow(replace(INHERITED, **known), story)


def test_a_proof_without_an_answer_can_be_tried_again():
    """It is not a proof that the gateway cannot find: in bad weather that would park every doubt."""
    e = follow(replace(FRESH, can_prove=True), "post:lost rest look:absent prove:silent")
    assert e.finds_ids is None
    follow(replace(e, can_prove=True), "prove:works post:taken accept")


# ---- a doubt about another key's call -----------------------------------------------------------------------------

FOREIGN = replace(INHERITED, foreign=True)


@pytest.mark.parametrize(
    ("story", "known"),
    [
        pytest.param("rest look:ours accept", {}, id="one account with two keys: it is found, and ours"),
        pytest.param("rest look:nameless park", {}, id="found without our id: not"),
        pytest.param("rest look:absent park", CONTROLLED, id="a proved look-up sees what this key may see"),
        pytest.param("rest look:absent park", {"can_prove": True}, id="so proving it is of no use"),
        pytest.param("rest look:absent park", {"may_learn": True}, id="nor waiting for a control"),
        pytest.param("rest look:absent park", {"refuses_ids": True}, id="an id is refused within one account"),
        pytest.param("rest look:trouble look:ours accept", {}, id="asked again while nobody answers"),
        pytest.param("rest" + " look:deaf" * MAX_DEAF_LOOKS + " park", CONTROLLED, id="and not for ever"),
    ],
)
def test_what_another_key_may_have_bought_is_left_to_a_person_unless_it_is_found(story, known):
    follow(replace(FOREIGN, **known), story)


def test_no_evidence_of_this_key_sends_another_keys_doubt_again_or_believes_it_unbought():
    flags = ("finds_ids", "refuses_ids", "can_prove", "may_learn", "rested", "sight_rested", "history")
    for values in product((True, False), repeat=len(flags)):
        for sight in (None, Sight.ABSENT, Sight.SILENT):
            e = replace(FOREIGN, sight=sight, **dict(zip(flags, values, strict=True)))
            assert decide(e) in (Action.REST, Action.LOOK, Action.PARK), e


# ---- the quiet window of a doubt ----------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [{}, CONTROLLED, {"refuses_ids": True}, {"can_prove": True}])
@pytest.mark.parametrize("start", [INHERITED, after_post(FRESH, ENDS["lost"])], ids=["inherited", "lost"])
def test_no_doubt_is_sent_again_before_its_quiet_window(start, known):
    assert decide(replace(start, **known)) is Action.REST


def test_the_window_begins_anew_with_each_call():
    e = follow(replace(FRESH, **CONTROLLED), "post:lost rest look:absent post:lost")
    assert (e.rested, e.sight, decide(e)) == (False, None, Action.REST)


# ---- a duplicate, or not (1201) -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("story", "known"),
    [
        pytest.param("post:exists look:ours accept", {}, id="attached"),
        pytest.param("post:exists look:absent rest look:ours accept", {}, id="visible late"),
        pytest.param("post:exists look:absent rest look:absent park", CONTROLLED, id="never seen: never a fresh id"),
        pytest.param(
            "post:exists look:nameless prove:works accept", {"can_prove": True}, id="no echo, but it can find"
        ),
        pytest.param("post:exists" + " look:deaf" * MAX_DEAF_LOOKS + " park", {}, id="looking is impossible there"),
    ],
)
def test_a_used_id_is_looked_for_and_never_replaced(story, known):
    e = follow(replace(FRESH, **known), story)
    assert e.refuses_ids


@pytest.mark.parametrize(
    ("story", "known"),
    [
        pytest.param("post:check look:ours accept", {}, id="a duplicate in other words"),
        pytest.param(
            "post:check look:absent rest look:absent believe",
            CONTROLLED,
            id="excluded after the window: the refusal is true",
        ),
        pytest.param(
            "post:check look:absent rest look:ours accept",
            CONTROLLED,
            id="the gateway sent it twice, and the first shows late",
        ),
        pytest.param(
            "post:check look:absent prove:works rest look:absent believe", {"can_prove": True}, id="proved in time"
        ),
        pytest.param("post:field look:absent believe", CONTROLLED, id="a named field needs no window"),
        pytest.param("post:check look:absent prove:fails park", {"can_prove": True}, id="cannot be excluded"),
        pytest.param("post:check look:absent hold:alone park", {"may_learn": True}, id="nobody brought a control"),
        pytest.param(
            "post:check look:absent hold:control prove:works rest look:absent believe",
            {"may_learn": True},
            id="somebody brought one",
        ),
        pytest.param("post:field look:absent believe", {"may_learn": True}, id="a named field needs none"),
        pytest.param("post:check look:absent park", {}, id="no control, no field named: a person decides"),
        pytest.param("post:field look:absent believe", {}, id="decision 12: names a field, one call, no history"),
        pytest.param("post:field" + " look:deaf" * MAX_DEAF_LOOKS + " believe", {}, id="... though it cannot look"),
        pytest.param("post:field look:absent park", {"posts": 1}, id="... not at the second call"),
        pytest.param(
            "post:check look:absent rest look:absent believe",
            {"posts": 1, **CONTROLLED},
            id="a later call: only after the window",
        ),
    ],
)
def test_a_1201_is_looked_up_before_it_is_believed(story, known):
    follow(replace(FRESH, **known), story)


def test_a_named_field_is_not_believed_of_an_id_with_a_past():
    """The refusal may be of the duplicate, whatever it says."""
    follow(replace(INHERITED, refuses_ids=True), "rest look:absent post:field look:absent park")
    follow(replace(INHERITED, **CONTROLLED), "rest look:absent post:field look:absent rest look:absent believe")


# ---- looks that say nothing ---------------------------------------------------------------------------------------


def test_a_look_without_an_answer_is_repeated_and_not_for_ever():
    """A path it does not understand: a few times. Trouble: half an hour. Neither is ever an absence."""
    follow(replace(FRESH, **CONTROLLED), "post:lost rest" + " look:deaf" * MAX_DEAF_LOOKS + " park")
    follow(replace(FRESH, **CONTROLLED), "post:lost rest" + " look:trouble" * MAX_SILENT_LOOKS + " park")


def test_a_provider_that_cannot_be_reached_is_waited_for():
    """Silence on the line says nothing about the gateway: it never uses up the looks."""
    story = "post:lost rest" + " look:unreachable" * (2 * MAX_SILENT_LOOKS) + " look:ours accept"
    follow(FRESH, story)


def test_an_answer_ends_the_count_of_silences():
    story = (
        "post:exists" + " look:deaf" * (MAX_DEAF_LOOKS - 1) + " look:trouble" + " look:deaf" * (MAX_DEAF_LOOKS - 1)
    )
    follow(FRESH, story + " look:ours accept")


@pytest.mark.parametrize(
    ("http_status", "counts"),
    [(400, 1), (404, 1), (200, 1), (401, 0), (403, 0), (408, 0), (425, 0), (429, 0), (500, 0), (503, 0), (None, 0)],
)
def test_a_silence_that_waiting_may_mend_is_not_deafness(http_status, counts):
    refusal = Refusal(kind=RefusalKind.INVALID, code="1", message="", http_status=http_status)
    e = after_look(FRESH, Look(sight=Sight.SILENT, refusal=refusal), external_task_id=ID)
    assert (e.deaf, e.silent) == (counts, 1)


# ---- the quiet window ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "lag", "loopback", "seconds"),
    [
        (None, 0.0, False, 120.0),
        (90.0, 0.0, False, 90.0),
        (300.0, 2.0, False, 300.0),
        (90.0, 15.0, False, 150.0),
        (5.0, 0.0, False, 60.0),
        (5.0, 0.0, True, 5.0),
        (0.0, 0.3, True, 3.0),
    ],
)
def test_the_window_is_the_setting_or_ten_lags_and_never_short_to_a_stranger(setting, lag, loopback, seconds):
    assert quiet_window_s(setting_s=setting, largest_lag_s=lag, loopback=loopback) == seconds
