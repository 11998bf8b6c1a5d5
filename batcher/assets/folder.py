"""Where a job's files go: saves what is fetched, finds what is there already, overwrites nothing it did not write."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, TypeVar

from anyio import to_thread

import batcher
from batcher import folders
from batcher.assets import disk, media, mp4, sidecar
from batcher.assets.check import Ailment, examine
from batcher.assets.place import Place, read_claim, sha256_of
from batcher.assets.receipts import Receipt, Receipts, read_namespaces, write_namespace
from batcher.errors import DiskError
from batcher.tasks import Asset
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from batcher.fetch import Fetch, Fetched
    from batcher.tasks import Task

T = TypeVar("T")

METADATA = "metadata.jsonl"


class Folder:
    """The output folder of one job: `root`/`job_dir`. Paths in tasks and assets are relative to `root`."""

    def __init__(self, root: Path, job_dir: str, *, inline: bool = False) -> None:
        """`inline` works without threads, for virtual time."""
        self.root = root
        self.path = disk.inside(root, job_dir)
        self.receipts = Receipts(self.path / ".batcher-receipts.jsonl", inline=inline)
        self._namespaces = self.path / ".batcher.json"
        self._inline = inline
        self._writing: set[Path] = set()
        self._made: set[Path] = set()
        """Folders of clips that are durable."""
        self._publishing = threading.Lock()

    def prepare(self, clips: int = 1) -> None:
        """Make the folder, and prove that it can be written and has room for so many clips; or `DiskError`."""
        disk.prepare(self.path, disk.space_for(clips))
        for path in (self._namespaces, self.path / METADATA):
            disk.sweep(path)

    def check_space(self, clips: int = 1) -> None:
        """Raise `DiskError` where there is no room for so many clips any more. Asked before every submission."""
        disk.check_space(self.path, disk.space_for(clips))

    def namespaces(self) -> dict[str, str]:
        """The namespace of each provider scope that ever bought something for this folder."""
        return read_namespaces(self._namespaces)

    def store_namespace(self, *, job: str, scope: str, namespace: str) -> None:
        """Keep a scope's namespace beside the clips, so that a lost state comes back with the same ids."""
        write_namespace(self._namespaces, job=job, scope=scope, namespace=namespace)

    def shown(self, relative: str) -> Path:
        """A file's path as people like to read it: from the working directory where it lies below that."""
        path = (self.root / relative).absolute()
        return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path

    async def save(self, task: Task, url: str, *, fetch: Fetch, now: Callable[[], float]) -> tuple[Asset, ...]:
        """Fetch the task's clip, check it, publish it with its sidecar and, with `media` installed, a poster.

        When this returns all of it is on disk to stay; until then nothing has the clip's final name. The name is
        `task.output`, or with six letters more where somebody else has that one. The video comes first. `now`
        gives Unix seconds.

        Raises:
            FetchError: Not all of it arrived. What did is left behind only where the next download can go on with it.
            BrokenClipError: What arrived is no whole clip; nothing is left behind.
            DiskError: It cannot be written; the run must stop.
        """
        # Two tasks of one name keep out of each other's hidden file.
        final = next(place.video for place in self._places(task) if place.video not in self._writing)
        self._writing.add(final)
        part: disk.Part | None = None
        try:
            with disk.disk_errors(final):
                self._make(final.parent)
                part = disk.open_draft(final, owner=task.external_task_id)
                fetched = await _fetch_into(part, url, fetch)
                at = iso(now())
                finish = partial(self._finish, task, part, fetched, at=at)
                return await self._run(finish)
        finally:
            if part:
                part.discard()
            self._writing.discard(final)

    async def adopt(self, task: Task) -> tuple[Asset, ...] | None:
        """The task's files where they are here already, proven by its id and the clip's sha256."""
        return await self._run(partial(self._adopt, task))

    async def generation_of(self, task: Task) -> str | None:
        """The provider's id of an adopted clip, as its sidecar has it: what brings the clip back if it is deleted."""
        return await self._run(partial(self._generation_of, task))

    async def missing(self, assets: Iterable[Asset]) -> list[Asset]:
        """Which of these videos are gone or of another size. One look at each folder, none into the files."""
        return await self._run(partial(self._missing, list(assets)))

    async def examine(self, asset: Asset) -> Ailment | None:
        """What is wrong with a recorded file; None where it is whole, byte for byte."""
        return await self._run(partial(examine, self.root, asset))

    async def renew(self, task: Task, video: Asset, companion: Asset) -> Asset | None:
        """Write the sidecar or poster of a whole clip anew; None where that cannot be.

        What stood there with other content is kept beside it.
        """
        return await self._run(partial(self._renew, task, video, companion))

    async def examine_metadata(self) -> Ailment | None:
        """Whether metadata.jsonl is gone or broken; None also where that file is somebody else's.

        Whether it is up to date is not asked: each run that brings something home rewrites it.
        """
        return await self._run(self._examine_metadata)

    async def sent(self) -> dict[str, Receipt]:
        """Every external id that a receipt or a sidecar names: sent before, whatever the state knows of it."""
        return await self._run(self._sent)

    async def write_metadata(self, clips: Iterable[tuple[Task, Asset]], *, has_news: bool = True) -> Path | None:
        """Rewrite metadata.jsonl, a line a clip. None, and nothing written, where that file is somebody else's.

        Without news it is written only where a clip is not in it: an earlier run was killed before it came to this.
        """
        return await self._run(partial(self._write_metadata, list(clips), has_news=has_news))

    async def _run(self, work: Callable[[], T]) -> T:
        return work() if self._inline else await to_thread.run_sync(work)

    def _places(self, task: Task) -> Iterator[Place]:
        """The task's own name, then others, the same ones at every run."""
        stem = disk.inside(self.root, task.output)
        yield Place(stem)
        digest = hashlib.sha256(task.external_task_id.encode()).hexdigest()
        for start in range(0, len(digest) - 5, 6):
            yield Place(stem.with_name(f"{stem.name}-{digest[start : start + 6]}"))

    def _make(self, folder: Path) -> None:
        if folder not in self._made:
            folders.make(folder)
            self._made.add(folder)

    def _finish(self, task: Task, part: disk.Part, fetched: Fetched, *, at: str) -> tuple[Asset, ...]:
        part.sink.flush()
        facts, poster = _look_into(part.path, is_length_proven=fetched.is_length_proven)
        part.sync()  # a full disk shows now, before the sidecar takes the name
        video = Asset(
            task_id=task.id,
            kind="video",
            path="",
            size_bytes=fetched.size_bytes,
            sha256=fetched.sha256,
            width=facts.width,
            height=facts.height,
            duration_s=facts.duration_s,
            downloaded_at=at,
        )
        with self._publishing:  # the hidden names of sidecars and posters are shared
            return self._publish(task, part, video, poster)

    def _publish(self, task: Task, part: disk.Part, video: Asset, poster: bytes | None) -> tuple[Asset, ...]:
        for place in self._places(task):
            video = replace(video, path=self._relative(place.video))
            note = sidecar.render(task, video, version=batcher.__version__)
            if place.publish(part, owner=task.external_task_id, sha256=video.sha256, note=note, picture=poster):
                return (video, *self._companions(place, video))
        raise DiskError(f"{task.output}: this name and all its variants are taken", hint="move those files away")

    def _adopt(self, task: Task) -> tuple[Asset, ...] | None:
        with disk.disk_errors(self.path):
            for place in self._places(task):
                claim = place.find(task.external_task_id)
                if claim:
                    self._make(place.video.parent)
                    folders.sync(place.video.parent)  # whoever published it may have been killed before that
                    self._sweep(place)
                    video = Asset(
                        task_id=task.id,
                        kind="video",
                        path=self._relative(place.video),
                        size_bytes=claim.size_bytes,
                        sha256=claim.sha256,
                        width=claim.width,
                        height=claim.height,
                        duration_s=claim.duration_s,
                        downloaded_at=claim.downloaded_at,
                    )
                    return (video, *self._companions(place, video))
        return None

    def _sweep(self, place: Place) -> None:
        if place.video not in self._writing:
            for path in (place.video, place.sidecar, place.poster):
                disk.sweep(path)

    def _generation_of(self, task: Task) -> str | None:
        claims = (read_claim(place.sidecar) for place in self._places(task))
        return next((c.generation_id for c in claims if c and c.external_task_id == task.external_task_id), None)

    def _companions(self, place: Place, video: Asset) -> Iterator[Asset]:
        for kind, path in (("sidecar", place.sidecar), ("poster", place.poster)):
            if path.is_file():
                yield Asset(
                    task_id=video.task_id,
                    kind=kind,
                    path=self._relative(path),
                    size_bytes=path.stat().st_size,
                    sha256=sha256_of(path),
                    downloaded_at=video.downloaded_at,
                )

    def _renew(self, task: Task, video: Asset, companion: Asset) -> Asset | None:
        path = disk.inside(self.root, companion.path)
        with disk.disk_errors(path):
            if companion.kind == "sidecar":
                data = sidecar.render(task, video, version=batcher.__version__)
            else:
                clip = disk.inside(self.root, video.path)
                picture = media.poster(media.first_picture(clip)) if media.is_available() else None
                if picture is None:
                    return None
                data = picture
            disk.set_aside(path)
            disk.write_whole(path, data, replace=False)
            folders.sync(path.parent)
        return replace(companion, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())

    def _missing(self, assets: list[Asset]) -> list[Asset]:
        videos = [asset for asset in assets if asset.kind == "video"]
        sizes: dict[str, int] = {}
        with disk.disk_errors(self.path):
            for folder in {str(PurePosixPath(asset.path).parent) for asset in videos}:
                sizes |= self._sizes(folder)
        return [asset for asset in videos if sizes.get(asset.path) != asset.size_bytes]

    def _sizes(self, folder: str) -> dict[str, int]:
        """Path and size of each file in a folder below the root; nothing where it is gone, or leads outside."""
        try:
            entries = os.scandir(disk.inside(self.root, f"{folder}/any").parent)
        except (FileNotFoundError, NotADirectoryError, DiskError):
            return {}
        with entries:
            return {
                str(PurePosixPath(folder, entry.name)): entry.stat().st_size for entry in entries if entry.is_file()
            }

    def _sent(self) -> dict[str, Receipt]:
        found = self.receipts.read()
        with disk.disk_errors(self.path):
            for folder, _, names in os.walk(self.path):
                for name in names:
                    claim = read_claim(Path(folder, name)) if name.endswith(".json") else None
                    if claim and claim.external_task_id not in found:
                        found[claim.external_task_id] = Receipt(
                            external_task_id=claim.external_task_id, content_hash=claim.content_hash, at=""
                        )
        return found

    def _write_metadata(self, clips: list[tuple[Task, Asset]], *, has_news: bool) -> Path | None:
        path = self.path / METADATA
        names = [os.path.relpath(self.root / video.path, self.path) for _, video in clips]
        with disk.disk_errors(path):
            if not _is_our_metadata(path) or not (has_news or set(names) - _names_in(path)):
                return None
            rows = [
                sidecar.metadata_row(task, video, file_name=name)
                for (task, video), name in zip(clips, names, strict=True)
            ]
            disk.write_whole(path, "".join(f"{row}\n" for row in rows).encode())
            folders.sync(self.path)
        return path

    def write_page(self, name: str, data: bytes, *, mark: bytes) -> None:
        """Write a page beside the clips. A file of that name without `mark` is somebody else's, and stays.

        Raises:
            DiskError: it is, or it cannot be written.
        """
        path = self.path / name
        with disk.disk_errors(path):
            self._make(self.path)
            if os.path.lexists(path) and mark not in disk.read_plain(path):
                raise DiskError(f"{path} is not a page of batcher's", hint="move it away, and write the page again")
            disk.write_whole(path, data)
            folders.sync(self.path)

    def _examine_metadata(self) -> Ailment | None:
        path = self.path / METADATA
        try:
            if not _is_our_metadata(path):
                return None
            for line in path.read_bytes().splitlines():
                json.loads(line)
        except FileNotFoundError:
            return Ailment.MISSING
        except (ValueError, RecursionError):
            return Ailment.CONTENT
        except OSError:
            return Ailment.UNREADABLE
        return None

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()


async def _fetch_into(part: disk.Part, url: str, fetch: Fetch) -> Fetched:
    try:
        return await fetch(url, part.sink, part.notes)
    except OSError:
        raise  # the disk's: it needs the room
    except BaseException:  # cut off, or cancelled
        part.rest()
        raise


def _look_into(path: Path, *, is_length_proven: bool) -> tuple[mp4.Mp4Facts, bytes | None]:
    """Prove that the file is a whole clip; what its boxes say, and its poster where `media` is installed."""
    facts = mp4.check(path)
    if facts.is_open_ended and not is_length_proven:
        raise mp4.BrokenClipError("nothing tells whether all of the clip arrived")
    poster = media.poster(media.first_picture(path)) if media.is_available() else None
    return facts, poster


def _is_our_metadata(path: Path) -> bool:
    """Whether the file is absent, empty, or begins with a line of ours."""
    if not path.is_file():  # a pipe would hang the run
        return not os.path.lexists(path)
    with path.open("rb") as file:
        line = file.readline(1_000_000)
    try:
        return not line or "external_task_id" in json.loads(line)
    except (ValueError, TypeError, RecursionError):
        return False


def _names_in(path: Path) -> set[str]:
    """The clips that a metadata.jsonl has a line for. One that cannot be read has none, and is written anew."""
    try:
        return {str(json.loads(line)["file_name"]) for line in path.read_bytes().splitlines()}
    except (FileNotFoundError, ValueError, TypeError, KeyError, RecursionError):
        return set()
