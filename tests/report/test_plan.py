from __future__ import annotations

from dataclasses import replace

from batcher.prices import PriceSource
from batcher.report.document import plan_document
from batcher.report.plan import plan_text
from batcher.report.views import PlanLine, PlanView, Unfetched

from .samples import HOSTILE

PLAN = PlanView(
    job="autumn",
    manifest="jobs/autumn.yaml",
    provider="cometapi",
    simulated=False,
    edition="2026-11-22",
    to_submit=2,
    in_flight=1,
    done=21,
    orphaned=1,
    cost_usd=0.98,
    unknown_prices=1,
    budget_usd=25.0,
    spent_usd=6.72,
    prices=(PriceSource("2026-11-20", "prices.yaml"), PriceSource("2025-12", "CometAPI")),
    eta_s=131.0,
    eta_at_once=4,
    lines=(
        PlanLine(kind="submit", name="fox-16x9", cost_usd=0.98, source="jobs/autumn.yaml:9"),
        PlanLine(kind="submit", name="狐", cost_usd=None, source="jobs/autumn.yaml:10"),
        PlanLine(kind="resume", name="tram"),
        PlanLine(kind="orphaned", name="old"),
    ),
    warnings=("model 'kling-v9' is not known",),
    next=("batcher run jobs/autumn.yaml",),
)


def test_a_plan_reads_from_what_to_what_it_costs_to_the_next_command():
    assert (
        plan_text(PLAN)
        == """\
autumn · jobs/autumn.yaml · edition 2026-11-22 · provider cometapi
warning: model 'kling-v9' is not known
  +  submit    fox-16x9        ≈ $0.98  jobs/autumn.yaml:9
  +  submit    狐        price unknown  jobs/autumn.yaml:10
  ~  resume    tram
  -  orphaned  old
  … 21 more

plan: 2 to submit, 1 to resume, 21 already done, 1 orphaned
cost ≈ $0.98 and 1 of unknown price · budget $25.00, ≈ $6.72 of it spent · about 2m10s at 4 at once
prices of 2026-11-20 (prices.yaml), else of 2025-12 (CometAPI)
next: batcher run jobs/autumn.yaml
"""
    )


def test_a_plan_with_nothing_to_buy_says_so():
    text = plan_text(replace(PLAN, to_submit=0, cost_usd=0.0, lines=()))
    assert "nothing to buy" in text
    assert "cost" not in text
    assert "more" not in text


def test_a_plan_without_prices_or_a_budget_says_so():
    text = plan_text(replace(PLAN, cost_usd=None, budget_usd=None, eta_s=None))
    assert "\ncost unknown · no budget\n" in text


def test_a_simulated_plan_says_so_on_its_first_line():
    assert "SIMULATED" in plan_text(replace(PLAN, simulated=True)).splitlines()[0]


def test_a_plan_is_bounded_however_many_tasks_it_has():
    """The first screen is for reading; the counts below are the truth."""
    lines = tuple(PlanLine(kind="submit", name=f"clip-{n}", cost_usd=0.1) for n in range(1000))
    text = plan_text(replace(PLAN, to_submit=1000, in_flight=0, done=0, orphaned=0, lines=lines), most=5)
    assert text.count("clip-") == 5
    assert "… 995 more" in text


def test_names_from_outside_stay_on_their_line():
    plan = replace(PLAN, lines=(PlanLine(kind="submit", name=HOSTILE, source=HOSTILE),), warnings=(HOSTILE,))
    assert all(line.isprintable() for line in plan_text(plan).splitlines())


def test_a_time_that_rests_on_usual_times_is_marked():
    assert "≈ 2m10s at 4 at once" in plan_text(replace(PLAN, eta_is_estimate=True))


def test_what_is_only_waited_for_has_a_time_too():
    text = plan_text(replace(PLAN, to_submit=0, cost_usd=0.0, lines=(), eta_s=40.0, eta_at_once=1))
    assert "nothing to buy · about 40s at 1 at once" in text


def test_paid_clips_that_are_not_home_are_told_with_the_command_that_fetches_them():
    clips = Unfetched(finished=3, perhaps=2, left_s=4 * 86400.0, command="batcher collect autumn")
    line = "warning: 3 finished clips and 2 that may be are not home; the provider deletes the first in 4d00h"
    assert f"{line}: batcher collect autumn\n" in plan_text(replace(PLAN, unfetched=clips))


def test_prices_and_time_are_in_the_document():
    document = plan_document(PLAN)
    assert document["prices"][0] == {"as_of": "2026-11-20", "source": "prices.yaml"}
    assert (document["eta_s"], document["eta_at_once"], document["eta_is_estimate"]) == (131.0, 4, False)
