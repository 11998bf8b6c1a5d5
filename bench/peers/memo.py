"""joblib: what a function returned is kept on disk, so that a second run goes on behind it."""

import os
import time
from pathlib import Path

import requests
from joblib import Memory, Parallel, delayed

API = os.environ["API_BASE"] + "/v1/videos/text2video"
HEADERS = {"Authorization": "Bearer " + os.environ["API_KEY"]}
SLEEP_S = float(os.environ.get("SLEEP_S", "1"))
memory = Memory("cache", verbose=0)


@memory.cache
def create(prompt: str) -> str:
    body = {"model_name": "kling-v1-6", "prompt": prompt}
    reply = requests.post(API, json=body, headers=HEADERS, timeout=60)
    reply.raise_for_status()
    return reply.json()["data"]["task_id"]


@memory.cache
def finish(number: int, task: str) -> None:
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
    Path(f"out/{number:02}.mp4").write_bytes(clip.content)


def render(number: int, prompt: str) -> None:
    try:
        finish(number, create(prompt))
    except (requests.RequestException, RuntimeError) as error:
        print(f"{number:02} failed: {error}")


prompts = Path("prompts.txt").read_text().splitlines()
Parallel(n_jobs=int(os.environ["AT_ONCE"]), prefer="threads")(
    delayed(render)(number, prompt) for number, prompt in enumerate(prompts, 1)
)
