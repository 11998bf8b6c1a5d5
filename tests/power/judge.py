"""Whether what a power cut left keeps the promises: judged by the code that the next run would start with."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import anyio

from batcher.assets import Folder
from batcher.environment import Environment
from batcher.errors import BatcherError
from batcher.manifest import load
from batcher.prepare import commit, open_account, prepare
from batcher.state.selection import Selection
from batcher.state.store import Store
from power.platter import Image, Loss, Platter, lay_out

if TYPE_CHECKING:
    from collections.abc import Iterable

    from storm import Storm


SENT = ("submitting", "submitted", "processing", "succeeded", "downloaded")
TOLD = {"submit": 0, "submitted": 1, "adopted": 1, "processing": 2, "succeeded": 3, "done": 4}
"""What an event promises of its task: at least this place in `SENT`."""


@dataclass(slots=True)
class Findings:
    """What is in an image, apart from what should be."""

    has_state: bool = False
    statuses: dict[str, str] = field(default_factory=dict)
    """Of each external id, in the state as it opens."""
    later: dict[str, str] = field(default_factory=dict)
    """After the next run has held its manifest and the folder against it, before it sends anything."""
    receipts: frozenset[str] = frozenset()
    has_namespaces: bool = False
    missing: list[str] = field(default_factory=list)
    """Files that the state has as downloaded and that are not there whole."""
    problems: list[str] = field(default_factory=list)
    """What no image may show, however early."""


class Judge:
    """Judges images of one recorded job. An image that was met before is not laid out again."""

    def __init__(
        self, platter: Platter, storm: Storm, *, state: str = "state.db", met: dict[str, Findings] | None = None
    ) -> None:
        """`met` is shared by judges of one job."""
        self.platter = platter
        self.state = state
        self.images = 0
        self._met = {} if met is None else met
        self._environment = Environment(process=storm.environment)
        self._endpoint = self._environment.endpoint("cometapi")
        self._manifest = load(storm.folder / "storm.yaml")
        final = {path: bytes(c) for path, c in self._final() if path.endswith((".mp4", ".jpg"))}
        self._clips = {path: hashlib.sha256(data).hexdigest() for path, data in final.items()}

    def _final(self) -> Iterable[tuple[str, bytearray]]:
        record = self.platter.record
        return ((path, record.contents[i]) for path, i in record.walk(record.names) if i in record.contents)

    @property
    def different(self) -> int:
        """How many images differed."""
        return len(self._met)

    def findings(self, at: int, loss: Loss | dict[str, Loss], seed: int = 0) -> Findings:
        """What is in the image that a power cut at line `at` leaves."""
        image = self.platter.image(at, loss, seed)
        self.images += 1
        key = _digest(image)
        if key not in self._met:
            self._met[key] = self._find(image)
        return self._met[key]

    def problems(self, at: int, loss: Loss | dict[str, Loss], seed: int = 0) -> list[str]:
        """What is broken in it."""
        found = self.findings(at, loss, seed)
        return found.problems + list(self._broken(found, at))

    def first_problem(self, loss: Loss | dict[str, Loss], moments: Iterable[int], seed: int = 0) -> str:
        """The first breach among the images of these moments, in words; empty where there is none."""
        for at in moments:
            if broken := self.problems(at, loss, seed):
                name = loss.name if isinstance(loss, Loss) else {disk: one.name for disk, one in loss.items()}
                last = [op.what for op in self.platter.ops if op.ended <= at][-3:]
                return f"power cut after {last}, keeping {name}, seed {seed}: {broken}"
        return ""

    def _broken(self, found: Findings, at: int) -> Iterable[str]:
        """What was promised before line `at` and does not hold.

        A state that a person deleted is held to nothing it told, and a deleted clip may be on its way again.
        """
        removed = {path: line for path, line in self.platter.record.removed.items() if line <= at}
        forgotten = removed.get(self.state, 0)
        deleted = max((line for path, line in removed.items() if path.startswith("out/")), default=0)
        for op in self.platter.ops:
            if op.kind == "post" and op.began <= at:
                yield from self._broken_by_post(found, op.event["id"], is_forgotten=op.began < forgotten)
            elif op.kind == "told" and forgotten < op.ended <= at and op.event["event"] in TOLD:
                task, least = op.event["task"], TOLD[op.event["event"]]
                if op.ended < deleted:
                    least = min(least, TOLD["succeeded"])
                status = found.statuses.get(task["external_task_id"], "pending")
                if status not in SENT[least:]:
                    yield f"{task['name']} was told {op.event['event']} and is {status}"
        for path in found.missing:
            if f"out/{path}" not in removed:
                yield f"{path} is downloaded, and not there whole"

    def _broken_by_post(self, found: Findings, external_id: str, *, is_forgotten: bool) -> Iterable[str]:
        if not is_forgotten and not found.has_state:
            yield f"no state, and {external_id} was sent"
        elif not is_forgotten and found.statuses.get(external_id) not in SENT:
            yield f"{external_id} was sent and is {found.statuses.get(external_id)}"
        if external_id not in found.receipts:
            yield f"{external_id} was sent and has no receipt"
        if not found.has_namespaces:
            yield f"no namespace is stored, and {external_id} was sent"
        if not found.problems and found.later.get(external_id) not in SENT:
            yield f"the next run would send {external_id} as if it were new"

    # ---- what is in an image ----------------------------------------------------------------------------------

    def _find(self, image: Image) -> Findings:
        memory = "/dev/shm"  # where there is one: an image is not to be kept, and needs no real disk
        with TemporaryDirectory(prefix="power-cut-", dir=memory if os.access(memory, os.W_OK) else None) as folder:
            lay_out(image, Path(folder))
            return anyio.run(self._examine, Path(folder))

    async def _examine(self, root: Path) -> Findings:
        found = Findings(has_state=(root / self.state).exists())
        folder = Folder(root / "out", "storm", inline=True)
        now = datetime.now(UTC)
        try:
            found.receipts = frozenset(folder.receipts.read())
            found.has_namespaces = self._endpoint.scope in folder.namespaces()
            self._look_at_clips(root, found)
            (root / self.state).parent.mkdir(parents=True, exist_ok=True)
            store = Store(root / self.state)
            try:
                found.statuses = _statuses(store)
                self._look_at_downloads(root, store, found)
                folder.prepare()
                prepared = prepare(self._manifest, endpoint=self._endpoint, state=store, now=now)
                account, _ = open_account(
                    store, self._endpoint, folder, self._environment, job="storm", now=now.timestamp()
                )
                await commit(prepared, store, folder, account, root=root / "out", now=now.timestamp())
                found.later = _statuses(store)
            finally:
                store.close()
        except BatcherError as exc:
            found.problems.append(f"the next run stops: {exc}")
        return found

    def _look_at_clips(self, root: Path, found: Findings) -> None:
        """Nothing has a final name before it is whole."""
        for path in sorted(p for p in (root / "out").rglob("[!.]*") if p.is_file()):
            name = path.relative_to(root).as_posix()
            data = path.read_bytes()
            if name in self._clips:
                if hashlib.sha256(data).hexdigest() != self._clips[name]:
                    found.problems.append(f"{name} is not whole")
            else:
                lines = [data.decode(errors="replace")] if path.suffix == ".json" else data.decode().splitlines()
                try:
                    [json.loads(line) for line in lines]
                except ValueError:
                    found.problems.append(f"{name} is not whole")

    def _look_at_downloads(self, root: Path, store: Store, found: Findings) -> None:
        for task in store.tasks(Selection(job="storm")):
            for asset in store.assets(task) if task.status == "downloaded" else ():
                file = root / "out" / asset.path
                if not file.is_file() or hashlib.sha256(file.read_bytes()).hexdigest() != asset.sha256:
                    found.missing.append(asset.path)


def _statuses(store: Store) -> dict[str, str]:
    return {task.external_task_id: str(task.status) for task in store.tasks(Selection(job="storm"))}


def _digest(image: Image) -> str:
    digest = hashlib.blake2b()
    for path, data in sorted(image.items()):
        digest.update(f"{path}\0{-1 if data is None else len(data)}\0".encode())
        digest.update(data or b"")
    return digest.hexdigest()
