"""`batcher plan`: what a run would do and cost. Sends nothing, writes nothing, needs no key."""

from __future__ import annotations

from contextlib import ExitStack, closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from batcher.bill import is_chosen
from batcher.cli.common import Shared, max_file_option, shared_options
from batcher.cli.manifests import choices_of, load_all
from batcher.compose import budget_of
from batcher.policy.concurrency import START
from batcher.policy.polling import mean_s
from batcher.prepare import prepare
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
    return prepare(manifest, endpoint=endpoint, state=state, now=datetime.now(UTC), edition=flags["edition"])


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
        eta_s=_eta_s(prepared, state),
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


def _eta_s(prepared: Prepared, state: Queries) -> float | None:
    """From what earlier runs learnt; None where nothing was."""
    limit, durations = state.learnt(prepared.scope)
    mean = mean_s(durations.values())
    waiting = prepared.bill().tasks + prepared.in_flight
    slots = prepared.manifest.settings.concurrency or limit or START
    return None if mean is None else waiting * mean / slots
