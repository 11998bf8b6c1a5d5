from __future__ import annotations

from dataclasses import replace

from batcher.report.plan import plan_text
from batcher.report.views import PlanLine, PlanView

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
    eta_s=130.0,
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
cost ≈ $0.98 and 1 of unknown price · budget $25.00, ≈ $6.72 of it spent · about 2m10s
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
