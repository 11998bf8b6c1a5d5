"""In the manner of the parallel processors in API cookbooks: asyncio, a semaphore, retries, a log of results."""

# ruff: noqa: ASYNC230, ASYNC240 - as cookbooks have it

import asyncio
import json
import os
from pathlib import Path

import httpx

API = os.environ["API_BASE"] + "/v1/videos/text2video"
SLEEP_S = float(os.environ.get("SLEEP_S", "1"))
MOST_TRIES = 5


async def call(client: httpx.AsyncClient, method: str, url: str, **more) -> httpx.Response:
    for tried in range(1, MOST_TRIES + 1):
        try:
            reply = await client.request(method, url, **more)
            reply.raise_for_status()
        except httpx.HTTPError:
            if tried == MOST_TRIES:
                raise
            await asyncio.sleep(2 ** (tried - 1))
        else:
            return reply
    raise AssertionError


async def render(client: httpx.AsyncClient, number: int, prompt: str) -> None:
    body = {"model_name": "kling-v1-6", "prompt": prompt}
    task = (await call(client, "POST", API, json=body)).json()["data"]["task_id"]
    while True:
        await asyncio.sleep(SLEEP_S)
        data = (await call(client, "GET", f"{API}/{task}")).json()["data"]
        if data["task_status"] == "failed":
            raise RuntimeError(data["task_status_msg"])
        if data["task_status"] == "succeed":
            break
    async with httpx.AsyncClient(timeout=60) as cdn:
        clip = await call(cdn, "GET", data["task_result"]["videos"][0]["url"])
    Path(f"out/{number:02}.mp4").write_bytes(clip.content)


async def main() -> None:
    semaphore = asyncio.Semaphore(int(os.environ["AT_ONCE"]))
    headers = {"Authorization": "Bearer " + os.environ["API_KEY"]}
    async with httpx.AsyncClient(headers=headers, timeout=60) as client:

        async def process(number: int, prompt: str) -> None:
            result = {"number": number, "prompt": prompt, "error": None}
            async with semaphore:
                try:
                    await render(client, number, prompt)
                except Exception as error:  # noqa: BLE001 - one clip must not end the others
                    result["error"] = repr(error)
            with Path("results.jsonl").open("a") as log:
                log.write(json.dumps(result) + "\n")

        prompts = enumerate(Path("prompts.txt").read_text().splitlines(), 1)
        await asyncio.gather(*(process(n, p) for n, p in prompts if not Path(f"out/{n:02}.mp4").exists()))


asyncio.run(main())
