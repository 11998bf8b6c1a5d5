"""DBOS: a clip is a durable workflow; what a step returned is in SQLite, and a second run goes on behind it.

The create step keeps the default of no retries, as it costs money; the others may be repeated.
"""

import os
from pathlib import Path

import requests
from dbos import DBOS, SetWorkflowID

API = os.environ["API_BASE"] + "/v1/videos/text2video"
HEADERS = {"Authorization": "Bearer " + os.environ["API_KEY"]}
SLEEP_S = float(os.environ.get("SLEEP_S", "1"))
DBOS(config={"name": "clips", "system_database_url": "sqlite:///clips.sqlite", "application_version": "1"})


@DBOS.step()
def create(prompt: str) -> str:
    body = {"model_name": "kling-v1-6", "prompt": prompt}
    reply = requests.post(API, json=body, headers=HEADERS, timeout=60)
    reply.raise_for_status()
    return reply.json()["data"]["task_id"]


@DBOS.step(retries_allowed=True)
def look(task: str) -> str | None:
    reply = requests.get(f"{API}/{task}", headers=HEADERS, timeout=60)
    reply.raise_for_status()
    data = reply.json()["data"]
    if data["task_status"] == "failed":
        raise RuntimeError(data["task_status_msg"])
    return data["task_result"]["videos"][0]["url"] if data["task_status"] == "succeed" else None


@DBOS.step(retries_allowed=True)
def download(number: int, url: str) -> None:
    clip = requests.get(url, timeout=60)
    clip.raise_for_status()
    Path(f"out/{number:02}.mp4").write_bytes(clip.content)


@DBOS.workflow()
def render(number: int, prompt: str) -> None:
    task = create(prompt)
    while True:
        DBOS.sleep(SLEEP_S)
        if url := look(task):
            break
    download(number, url)


DBOS.launch()
queue = DBOS.register_queue("clips", worker_concurrency=int(os.environ["AT_ONCE"]))
handles = []
for number, prompt in enumerate(Path("prompts.txt").read_text().splitlines(), 1):
    with SetWorkflowID(f"clip-{number:02}"):
        handles.append(queue.enqueue(render, number, prompt))
for number, handle in enumerate(handles, 1):
    try:
        handle.get_result()
    except Exception as error:  # noqa: BLE001 - one clip must not end the others
        print(f"{number:02} failed: {error}")
DBOS.destroy()
