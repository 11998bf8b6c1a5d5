"""`batcher plan`: what a run would do and cost. Sends nothing, writes nothing, needs no key."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.bill import is_chosen, unpriced
from batcher.cli.common import Shared, max_file_option, prices_option, shared_options
from batcher.cli.manifests import choices_of, load_all
from batcher.cli.outlook import eta, unfetched
from batcher.compose import budget_of
from batcher.prepare import prepare
from batcher.prices import MOST_NAMED, how_to_price
from batcher.report.document import plan_document
from batcher.report.plan import plan_text
from batcher.report.views import PlanLine, PlanView
from batcher.state.queries import Queries
from batcher.tasks import IN_FLIGHT, Status
from batcher.text import command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batcher.choices import Choices
    from batcher.manifest import Manifest
    from batcher.policy.forecast import Forecast
    from batcher.prepare import Prepared

SAMPLE = 20
"""Tasks named of each kind; the counts are the truth."""


@click.command()
@click.argument("manifests", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--provider", help="simulator or cometapi, instead of the manifest's.")
@click.option("--var", multiple=True, metavar="NAME=VALUE", help="Replace a variable of the manifest.")
@click.option("--edition", help="This edition, instead of the manifest's.")
@click.option("-s", "--select", "include", multiple=True, help="Only these: a name glob, status:WORD or id:ID.")
@click.option("--exclude", multiple=True, help="Not these; as --select.")
@click.option("--max-usd", type=click.FloatRange(0), help="Instead of budget.max_usd.")
@prices_option
@click.option("--allow-outside", is_flag=True, help="Let prompt files lie outside the manifest's folder.")
@max_file_option
@click.option("--strict", is_flag=True, help="Take the manifest's warnings for errors.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit 2 when there is something to do, 0 when not.")
@shared_options
def plan(shared: Shared, manifests: tuple[Path, ...], **flags: Any) -> int:
    """Show what a run would do: new, in flight, done, failed, orphaned, cost and time. Sends nothing."""
    return show_plans(shared, manifests, flags)


def show_plans(shared: Shared, paths: tuple[Path, ...], flags: dict[str, Any]) -> int:
    """Print the plan of each manifest; the exit code."""
    something = False
    with ExitStack() as stack:
        state = stack.enter_context(closing(Queries.open(shared.state) if shared.state.exists() else Queries.empty()))
        for manifest in load_all(paths, flags):
            with closing(_prepare(shared, manifest, state, flags)) as prepared:
                view = plan_view(prepared, state, flags)
            something |= bool(view.to_submit or view.in_flight)
            shared.result(plan_text(view), plan_document(view))
    return 2 if something and flags.get("detailed_exitcode") else 0


def _prepare(shared: Shared, manifest: Manifest, state: Queries, flags: dict[str, Any]) -> Prepared:
    endpoint = shared.environment().endpoint(flags["provider"] or manifest.provider or "simulator", needs_key=False)
    return prepare(
        manifest,
        endpoint=endpoint,
        state=state,
        now=datetime.now(UTC),
        edition=flags["edition"],
        prices=flags["prices"],
    )


def plan_view(prepared: Prepared, state: Queries, flags: dict[str, Any]) -> PlanView:
    """A prepared manifest as the report shows it."""
    choices = choices_of(flags)
    prepared.refuse_empty_choice(choices)
    bill, counts = prepared.bill(choices), prepared.counts()
    budget = budget_of(prepared.manifest, choices)
    day = datetime.now(UTC).strftime("%Y-%m-%d")
    spent = state.spent(job=prepared.job, edition=prepared.edition, scope=prepared.scope, day=day).usd
    warnings = [*prepared.endpoint.notes, *prepared.warnings]
    if prepared.unfinished_edition:
        warnings.append(f"edition {prepared.edition!r} is unfinished and comes first")
    if prepared.renamed:
        warnings.append(
            f"{len(prepared.renamed)} tasks were bought under the job's former name: run with --adopt-orphans"
        )
    if budget.max_usd is not None and spent + bill.usd > budget.max_usd:
        warnings.append("the budget does not cover all of it: the run would stop at it (exit 3), resumable")
    if bill.unknown:
        own = prepared.prices.own_source
        classes = unpriced(prepared.lines(choices), prepared.prices)
        warnings.append(
            f"the price of {', '.join(classes[:MOST_NAMED])} is not known:"
            f" {how_to_price(classes, own.source if own else None)}"
        )
    ahead = _eta(prepared, state, flags)
    return PlanView(
        job=prepared.job,
        manifest=str(prepared.manifest.path),
        provider=prepared.scope,
        simulated=prepared.endpoint.is_simulated,
        edition=prepared.edition,
        to_submit=bill.tasks,
        in_flight=prepared.in_flight,
        done=counts.get(Status.DOWNLOADED, 0),
        failed=counts.get(Status.FAILED, 0),
        unclear=counts.get(Status.UNCLEAR, 0),
        orphaned=prepared.orphans_size(),
        cost_usd=bill.cost_usd,
        cost_is_estimate=prepared.bill().is_estimate,
        unknown_prices=bill.unknown,
        budget_usd=budget.max_usd,
        spent_usd=spent,
        prices=prepared.prices.sources,
        eta_s=ahead.seconds if ahead else None,
        eta_at_once=ahead.at_once if ahead else None,
        eta_is_estimate=ahead is not None and ahead.is_estimate,
        unfetched=unfetched(state, prepared.job, prepared.scope),
        lines=tuple(_lines(prepared, choices)),
        warnings=tuple(warnings),
        next=(command("run", str(prepared.manifest.path)),) if bill.tasks or prepared.in_flight else (),
    )


def _lines(prepared: Prepared, choices: Choices) -> Iterator[PlanLine]:
    new = prepared.plan.wanted(new=True)
    chosen = (w for w in new if is_chosen(w.spec.name, choices.include, choices.exclude))
    for wanted in islice(chosen, min(SAMPLE, SAMPLE if choices.limit is None else choices.limit)):
        yield PlanLine(kind="submit", name=wanted.spec.name, cost_usd=wanted.price_usd, source=wanted.spec.source)
    kinds = {
        "submit": (Status.PENDING,),
        "resume": (*IN_FLIGHT, Status.SUCCEEDED),
        "failed": (Status.FAILED,),
        "unclear": (Status.UNCLEAR,),
    }
    for kind, statuses in kinds.items():
        for task in prepared.known(*statuses, limit=SAMPLE):
            cost = task.cost_usd if kind == "submit" else None
            yield PlanLine(kind=kind, name=task.name, cost_usd=cost, source=task.source)
    for task in prepared.orphans(SAMPLE):
        yield PlanLine(kind="orphaned", name=task.name, source=task.source)


def _eta(prepared: Prepared, state: Queries, flags: dict[str, Any]) -> Forecast | None:
    """How long what is chosen takes, with what is at the provider already."""
    waiting: Counter[str] = Counter()
    for line, number in prepared.lines(choices_of(flags)).items():
        waiting[line.name] += number
    given = flags.get("concurrency") or prepared.manifest.settings.concurrency
    running = state.by_class(prepared.selection, running=True)
    return eta(state, prepared.scope, waiting=waiting, running=running, given=given)
