"""Writes that are not about one task: runs, jobs, accounts, what was learnt."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from typing import TYPE_CHECKING, Any

from batcher import __version__
from batcher.state import slim
from batcher.state.commits import Commits
from batcher.times import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batcher.policy.polling import Durations
    from batcher.state.rows import Account, Job, Run


class Records(Commits):
    """Adds the bookkeeping to the transactions."""

    def recount(self) -> int:
        """Count all tasks anew where the counters are wrong. Returns how many were; reads every task."""
        wrong = self.miscounted()
        if wrong:
            with self.transaction():
                self._execute("DELETE FROM counters")
                self._execute(slim.RECOUNT, {"above": 0})
        return wrong

    def begin_run(self, run: Run) -> None:
        self.run_id = run.id
        with self.transaction():
            self._execute(
                "INSERT INTO runs (id, command, job, manifest, manifest_sha256, provider, started_at, version,"
                " sqlite_version, host, pid) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run.id,
                    run.command,
                    run.job,
                    run.manifest,
                    run.manifest_sha256,
                    run.provider,
                    run.started_at,
                    __version__,
                    sqlite3.sqlite_version,
                    platform.node(),
                    os.getpid(),
                ),
            )

    def end_run(self, run_id: str, *, outcome: str, exit_code: int, now: float) -> None:
        with self.transaction():
            self._execute(
                "UPDATE runs SET finished_at = ?, outcome = ?, exit_code = ? WHERE id = ?",
                (iso(now), outcome, exit_code, run_id),
            )

    def save_job(self, job: Job, *, now: float) -> None:
        self._upsert(
            "jobs",
            ("job", "scope"),
            {
                "job": job.job,
                "scope": job.scope,
                "root": job.root,
                "folder": job.folder,
                "manifest": job.manifest,
                "manifest_sha256": job.manifest_sha256,
                "settings": json.dumps(dict(job.settings)),
                "updated_at": iso(now),
            },
        )

    def save_account(self, account: Account, *, now: float) -> None:
        self._upsert(
            "accounts",
            ("scope", "key_fingerprint"),
            {
                "scope": account.scope,
                "key_fingerprint": account.key_fingerprint,
                "base_url": account.base_url,
                "namespace": account.namespace,
                "finds_ids": None if account.finds_ids is None else int(account.finds_ids),
                "refuses_ids": int(account.refuses_ids),
                "has_list": None if account.has_list is None else int(account.has_list),
                "lag_s": account.lag_s,
                "used": int(account.used),
                "seen_at": iso(now),
            },
        )

    def save_limit(self, scope: str, limit: int, *, now: float) -> None:
        """Remember how many generations an account takes at once."""
        row = {"scope": scope, "class": "", "concurrency": limit, "updated_at": iso(now)}
        self._upsert("limits", ("scope", "class"), row)

    def save_learnt(self, scope: str, *, limit: int | None, durations: Mapping[str, Durations], now: float) -> None:
        """Remember what a run learnt of an account; without a limit the one that is known stays."""
        rows: list[dict[str, Any]] = [] if limit is None else [{"class": "", "concurrency": limit, "durations": None}]
        rows += [
            {"class": name, "concurrency": None, "durations": json.dumps(learnt.to_json())}
            for name, learnt in durations.items()
        ]
        with self.transaction():
            for row in rows:
                self._upsert("limits", ("scope", "class"), {"scope": scope, "updated_at": iso(now), **row})

    def _upsert(self, table: str, key: tuple[str, ...], row: Mapping[str, Any]) -> None:
        names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
        changes = ", ".join(f"{name} = excluded.{name}" for name in row if name not in key)
        self._execute(
            f"INSERT INTO {table} ({names}) VALUES ({marks}) ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}",
            dict(row),
        )
