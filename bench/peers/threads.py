"""As posts have it: a pool of threads, requests, and a sleep between two looks."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

API = os.environ["API_BASE"] + "/v1/videos/text2video"
HEADERS = {"Authorization": "Bearer " + os.environ["API_KEY"]}
SLEEP_S = float(os.environ.get("SLEEP_S", "5"))


def render(number: int, prompt: str) -> None:
    path = Path(f"out/{number:02}.mp4")
    if path.exists():
        return
    body = {"model_name": "kling-v1-6", "prompt": prompt}
    reply = requests.post(API, json=body, headers=HEADERS, timeout=60)
    reply.raise_for_status()
    task = reply.json()["data"]["task_id"]
    while True:
        time.sleep(SLEEP_S)
        reply = requests.get(f"{API}/{task}", headers=HEADERS, timeout=60)
        reply.raise_for_status()
        data = reply.json()["data"]
        if data["task_status"] == "failed":
            raise RuntimeError(data["task_status_msg"])
        if data["task_status"] == "succeed":
            break
    clip = requests.get(data["task_result"]["videos"][0]["url"], timeout=60)
    clip.raise_for_status()
    path.write_bytes(clip.content)


with ThreadPoolExecutor(int(os.environ["AT_ONCE"])) as pool:
    prompts = Path("prompts.txt").read_text().splitlines()
    futures = [pool.submit(render, number, prompt) for number, prompt in enumerate(prompts, 1)]
for number, future in enumerate(futures, 1):
    if error := future.exception():
        print(f"{number:02} failed: {error}")
