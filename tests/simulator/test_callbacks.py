from __future__ import annotations

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from batcher.simulator.callbacks import sign

from .conftest import CREATE, NOON


def test_the_signature_is_that_of_the_official_example():
    body = (
        b'{"id":"1234567890","status":"succeeded","message":"",'
        b'"create_time":1781080778802,"update_time":1781080794151}'
    )
    secret = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="
    headers = sign(secret, message_id="9876543210", timestamp=1781080794, body=body)
    assert headers["webhook-signature"] == "v1,UsKlJP00XoQyOn410NM9xv34sP+Gl0jnOO9Lcpr7NJ4="


@pytest.fixture
def receiver():
    """A server on loopback that puts what it is sent into a queue."""
    received = queue.Queue()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.put((dict(self.headers.items()), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    received.url = f"http://127.0.0.1:{server.server_port}/callback"
    yield received
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_change_of_status_is_posted_flat_and_signed(serve, receiver):
    secret = "whsec_c2VjcmV0"
    client = serve(callback_secret=secret)
    client.post(CREATE, json={"prompt": "a", "external_task_id": "fox-1", "callback_url": receiver.url})
    told = {}
    for _ in range(3):
        headers, body = receiver.get(timeout=10)
        document = json.loads(body)
        told[document["task_status"]] = document
        headers = {name.lower(): value for name, value in headers.items()}
        expected = sign(
            secret, message_id=headers["webhook-id"], timestamp=int(headers["webhook-timestamp"]), body=body
        )
        assert headers["webhook-signature"] == expected["webhook-signature"]
    assert set(told) == {"submitted", "processing", "succeed"}
    assert told["succeed"]["task_info"] == {"external_task_id": "fox-1"}
    assert told["succeed"]["task_result"]["videos"][0]["url"].startswith(str(client.base_url))


def test_a_receiver_that_is_not_there_disturbs_nothing(serve):
    client = serve()
    reply = client.post(CREATE, json={"prompt": "a", "callback_url": "http://127.0.0.1:9/x"})
    assert reply.status_code == client.get("/_healthz").status_code == 200


def planned(make_api, **settings):
    """Return the statuses told, in the order of sending."""
    api = make_api(**settings)
    api.post("fox-1", callback_url="http://127.0.0.1:9/x")
    early = len(api.world.outbox.due(NOON))
    rest = api.world.outbox.due(NOON + 1e6)
    assert api.world.outbox.next_at() is None
    return early, [callback.generation.status(callback.told_at) for callback in rest]


def test_callbacks_may_be_lost_doubled_early_or_out_of_order(make_api):
    assert planned(make_api) == (1, ["processing", "succeed"])
    assert planned(make_api, callbacks=False) == (0, [])
    assert planned(make_api, callback_moods={"lost": 1}) == (0, [])
    assert planned(make_api, callback_moods={"early": 1}) == (3, [])
    assert planned(make_api, callback_moods={"duplicate": 1}) == (2, ["processing"] * 2 + ["succeed"] * 2)
    assert planned(make_api, callback_moods={"reordered": 1}) == (0, ["submitted", "succeed", "processing"])
