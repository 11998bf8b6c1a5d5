"""A desk: one manifest, a state and an output folder, as one command after another sees them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import anyio

from batcher.assets import Folder, sidecar
from batcher.environment import Environment
from batcher.generations import Generation, GenerationStatus
from batcher.manifest import load
from batcher.prepare import commit, folder_name, open_account, prepare
from batcher.state.store import Store
from batcher.tasks import Asset

NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)
TOMORROW = datetime(2026, 11, 23, 13, tzinfo=UTC)
KEY = "sk-test-0001"
PAID = Environment(process={"COMETAPI_KEY": KEY}).endpoint("cometapi")
SIMULATED = Environment(process={}).endpoint("simulator")
FOX, OWL, ELK = ({"id": name, "prompt": f"A {name}"} for name in ("fox", "owl", "elk"))
NIGHTLY = 'edition: "{{ today }}"'
RENAMED = "job: winter"


class Desk:
    """A folder with one manifest, a state and the output folder: what one command after another sees."""

    def __init__(self, home):
        self.home = home
        self.path = home / "jobs" / "autumn.yaml"
        self.out = home / "out"
        self.state = home / "state.db"
        self.store = Store(self.state)
        self.environment = Environment(process={"COMETAPI_KEY": KEY})
        self.endpoint = PAID

    def write(self, *prompts, more="", path=None):
        """Write the manifest anew, and load it."""
        path = path or self.path
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"prompts: [{', '.join(map(_flow, prompts))}]\n{more}\n")
        return load(path)

    def prepare(self, manifest, *, now=NOW, **options):
        return prepare(manifest, endpoint=self.endpoint, state=self.store, now=now, **options)

    def folder(self, prepared):
        return Folder(self.out, folder_name(prepared.job, simulated=self.endpoint.is_simulated), inline=True)

    def account(self, prepared):
        return open_account(
            self.store, self.endpoint, self.folder(prepared), self.environment, job=prepared.job, now=NOW.timestamp()
        )

    def commit(self, prepared):
        """Write the plan down as a run does. Returns the adopted tasks."""
        account, _ = self.account(prepared)
        folder = self.folder(prepared)
        return anyio.run(lambda: commit(prepared, self.store, folder, account, root=self.out, now=NOW.timestamp()))

    def plan(self, manifest, **options):
        """Prepare and commit. Returns the tasks by name."""
        prepared = self.prepare(manifest, **options)
        self.commit(prepared)
        hashes = prepared.plan.hashes() or [task.content_hash for task in prepared.known()]
        return {task.name: task for task in self.store.known(hashes).values()}

    def receive(self, task, *, job=None):
        """Write the receipt of a create call that was claimed, as each one has before it is made."""
        folder = Folder(self.out, folder_name(job or task.job, simulated=self.endpoint.is_simulated), inline=True)
        what = (task.external_task_id, task.content_hash)
        more = {"post": self.store.attempt(task.external_task_id).posts, "account": self.endpoint.fingerprint}
        anyio.run(lambda: folder.receipts.append(*what, **more, now=NOW.timestamp()))

    def send(self, task):
        """As a run does it, to the moment when the provider took it."""
        claimed = self.store.claim(task, account=self.endpoint.fingerprint, now=NOW.timestamp())
        self.receive(task)
        made = Generation(id="845", status=GenerationStatus.SUBMITTED)
        return self.store.accepted(claimed, made, request_id=None, how="create", now=NOW.timestamp())

    def refuse(self, task):
        """... or to the moment when it was too busy to."""
        claimed = self.store.claim(task, account=self.endpoint.fingerprint, now=NOW.timestamp())
        self.receive(task)
        return self.store.released(claimed, reason="busy", wait_s=0, refused=True, now=NOW.timestamp())

    def call_off(self, task):
        """... or claimed, and let go of before a byte was sent or a receipt written."""
        claimed = self.store.claim(task, account=self.endpoint.fingerprint, now=NOW.timestamp())
        return self.store.released(claimed, reason="not sent", wait_s=0, refused=False, now=NOW.timestamp())

    def fail(self, task, *, bought):
        """... or to its failure: at the provider, or as a request that it refuses."""
        if bought:
            tried = self.send(task)
        else:
            tried = self.store.claim(task, account=self.endpoint.fingerprint, now=NOW.timestamp())
            self.receive(task)
        return self.store.failed(tried, failure=("provider", "500", "no"), bought=bought, now=NOW.timestamp())

    def retry(self, task):
        """What a person asks for: once more."""
        namespace = self.store.account(self.endpoint.scope).namespace
        return self.store.next_attempt(task, namespace=namespace, wait_s=0, now=NOW.timestamp())

    def bring_home(self, task, *, clip=b"the pictures"):
        """... and to the clip and its sidecar on the disk."""
        done = self.store.succeeded(self.send(task), Generation(id="845", status=GenerationStatus.SUCCEEDED), now=0.0)
        video = Asset(
            task_id=task.id,
            kind="video",
            path=f"{task.output}.mp4",
            size_bytes=len(clip),
            sha256=hashlib.sha256(clip).hexdigest(),
        )
        stem = self.out / task.output
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.with_name(stem.name + ".mp4").write_bytes(clip)
        stem.with_name(stem.name + ".json").write_bytes(sidecar.render(done, video, version="0"))
        return self.store.downloaded(done, [video], now=NOW.timestamp())

    def lose_state(self):
        self.store.close()
        for file in self.home.glob("state.db*"):
            file.unlink()
        self.store = Store(self.state)

    def restore(self, backup):
        """Put an older copy of the state back."""
        self.store.close()
        for file in self.home.glob("state.db*"):
            file.unlink()
        self.state.write_bytes(backup)
        self.store = Store(self.state)

    def backup(self):
        copy = self.home / "copy.db"
        copy.unlink(missing_ok=True)
        self.store._execute("VACUUM INTO ?", (str(copy),))
        return copy.read_bytes()


def _flow(prompt):
    return "{" + ", ".join(f"{key}: {value}" for key, value in prompt.items()) + "}"
