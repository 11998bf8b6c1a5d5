"""Kling's text-to-video calls through CometAPI, or through any server that speaks the same."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from batcher.generations import Fate, Listing, Look, Posted, Sight
from batcher.http import NoReplyError, NotSentError, retry_after_s
from batcher.providers.kling import parse_create, parse_find, parse_list

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from batcher.http import ApiClient, Reply

PREFIX = "/kling"
TEXT2VIDEO = f"{PREFIX}/v1/videos/text2video"


class CometApi:
    """The `Provider` that costs money; with a loopback URL and another scope it talks to the simulator."""

    def __init__(self, client: ApiClient, *, scope: str, callback_url: str | None = None) -> None:
        self.scope = scope
        self._client = client
        self._callback_url = callback_url

    async def create(self, request: Mapping[str, Any], *, external_task_id: str) -> Posted:
        """Send one create call, once."""
        body = {**request, "external_task_id": external_task_id}
        if self._callback_url:
            body["callback_url"] = self._callback_url
        try:
            reply = await self._client.post(TEXT2VIDEO, body)
        except NotSentError as error:
            return Posted(fate=Fate.NOT_SENT, detail=error.detail)
        except NoReplyError as error:
            return Posted(fate=Fate.AMBIGUOUS, detail=error.detail)
        posted = parse_create(reply, retry_after_s=_pause(reply))
        echo = posted.generation.external_task_id if posted.generation else None
        if echo not in (None, external_task_id):
            return Posted(
                fate=Fate.AMBIGUOUS, request_id=posted.request_id, detail="the answer is about another task"
            )
        return posted

    async def find(self, generation_id: str) -> Look:
        """Look at one generation by the provider's id."""
        return await self._look(generation_id, external=False)

    async def find_external(self, external_task_id: str) -> Look:
        """Look at one generation by our id, which Kling takes in the same place."""
        return await self._look(external_task_id, external=True)

    async def list(self, *, page: int, size: int, wanted: Container[str] | None = None) -> Listing:
        """One page of the account's generations."""
        try:
            reply = await self._client.get(TEXT2VIDEO, {"pageNum": page, "pageSize": size})
        except (NotSentError, NoReplyError) as error:
            return Listing(supported=None, answered=False, detail=error.detail)
        return parse_list(reply, wanted=wanted, retry_after_s=_pause(reply))

    async def server_time(self) -> float | None:
        """The server's clock in Unix seconds, from a free request's Date header; None where it says none."""
        try:
            reply = await self._client.get(f"{TEXT2VIDEO}/clock")
            return parsedate_to_datetime(reply.headers["date"]).timestamp()
        except (NotSentError, NoReplyError, KeyError, ValueError, OverflowError):
            return None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _look(self, wanted_id: str, *, external: bool) -> Look:
        try:
            # "Not found" under our id may lead to another create call.
            reply = await self._client.get(f"{TEXT2VIDEO}/{quote(wanted_id, safe='')}", is_evidence=external)
        except (NotSentError, NoReplyError) as error:
            return Look(sight=Sight.SILENT, answered=False, detail=error.detail)
        return parse_find(reply, wanted_id, external=external, retry_after_s=_pause(reply))


def _pause(reply: Reply) -> float | None:
    return retry_after_s(reply, time.time())
