"""How fast clips come home over TLS, and what that costs: batcher against curl, and aria2c where it is installed.

All in one run and in turns: a server on loopback in processes of its own, twenty files of 20 MB. Ours is the way of
`batcher run`: address checks, TLS, sha256, box walk, first picture, poster, sidecar, every file and folder synced.
The others write the files and leave the syncing to the system.
"""

from __future__ import annotations

import datetime as dt
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import anyio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from record import SMOKE, publish

from batcher.assets import Folder
from batcher.fetch import FetchPolicy, threaded_fetch
from batcher.simulator.clips import sample
from batcher.tasks import Status, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FILES, FILE_BYTES, ROUNDS = (4, 1_000_000, 1) if SMOKE else (20, 20_000_000, 3)
AT_ONCE = (2, 4, 8)
DEFAULT = 4
"""`Options.downloads`."""


@dataclass(frozen=True, slots=True)
class Cost:
    """One round: seconds by the wall, and of the client's CPU."""

    wall_s: float
    cpu_s: float

    @property
    def mb_per_s(self) -> float:
        return FILES * FILE_BYTES / 1e6 / self.wall_s

    @property
    def cpu_s_per_gb(self) -> float:
        return self.cpu_s / (FILES * FILE_BYTES / 1e9)


def main() -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:  # a disk like that of a user's clips, not a tmpfs
        home = Path(name)
        certificate = write_certificate(home / "localhost.pem")
        with serving(certificate) as (port, server_cpu_s):
            clients = clients_of(port, certificate, home)
            costs: dict[str, list[Cost]] = {client: [] for client in clients}
            turns = ROUNDS if SMOKE else ROUNDS + 1
            for turn in range(turns):
                for client, run in clients.items():
                    os.sync()  # what the one before has left to write is not this one's
                    cost = run()
                    if turn or SMOKE:  # the first round warms up
                        costs[client].append(cost)
            server = server_cpu_s() / (turns * len(clients) * FILES * FILE_BYTES / 1e9)
    curl_costs = costs["curl -Z"]
    rows = [
        (
            client,
            f"{median(cost.mb_per_s for cost in taken):.0f}",
            f"{median(a.mb_per_s / b.mb_per_s for a, b in zip(taken, curl_costs, strict=True)):.2f}",
            f"{median(cost.cpu_s_per_gb for cost in taken):.2f}",
            f"{median(a.cpu_s_per_gb / b.cpu_s_per_gb for a, b in zip(taken, curl_costs, strict=True)):.2f}",
        )
        for client, taken in costs.items()
    ]
    publish(
        "downloads",
        ("client", "MB/s", "of curl's", "CPU s/GB", "of curl's"),
        rows,
        notes=(
            f"{FILES} files of {FILE_BYTES // 1_000_000} MB, TLS on loopback; medians of {ROUNDS} rounds in turns,",
            "ratios of figures of the same round.",
            f"The server shares the cores: {server:.2f} CPU s/GB for it.",
            "batcher's figures hold sha256, the clip's checks, poster, sidecar and all syncs; the others' do not.",
        ),
    )


# ---- the clients ------------------------------------------------------------------------------------------------


def clients_of(port: int, certificate: Path, home: Path) -> dict[str, Callable[[], Cost]]:
    urls = [f"https://localhost:{port}/clip-{number}.mp4?Signature=x" for number in range(FILES)]
    clients: dict[str, Callable[[], Cost]] = {"curl -Z": partial(curl, urls, certificate, home)}
    if shutil.which("aria2c"):
        clients["aria2c"] = partial(aria2c, urls, certificate, home)
    for most in AT_ONCE:
        name = f"batcher, {most} at once" + (" (default)" if most == DEFAULT else "")
        clients[name] = partial(batcher, urls, certificate, home, most)
    return clients


def batcher(urls: list[str], certificate: Path, home: Path, most: int) -> Cost:
    async def run() -> Cost:
        policy = FetchPolicy(allow_loopback=True)
        fetch = threaded_fetch(
            policy,
            limiter=anyio.CapacityLimiter(8),
            tls=lambda: ssl.create_default_context(cafile=certificate),
        )
        folder = Folder(home / "ours", "bench")
        slots = anyio.CapacityLimiter(most)

        async def save(number: int, url: str) -> None:
            async with slots:
                await folder.save(task(number), url, fetch=fetch, now=time.time)

        started, cpu = time.perf_counter(), time.process_time()
        async with anyio.create_task_group() as group:
            for number, url in enumerate(urls):
                group.start_soon(save, number, url)
        return Cost(time.perf_counter() - started, time.process_time() - cpu)

    cost = anyio.run(run)
    clips = list((home / "ours").rglob("*.mp4"))
    assert [clip.stat().st_size for clip in clips] == [FILE_BYTES] * FILES
    shutil.rmtree(home / "ours")
    return cost


def task(number: int) -> Task:
    now = "2026-11-22T13:00:00.000Z"
    return Task(
        id=number,
        job="bench",
        name=f"clip-{number}",
        edition="",
        take="1",
        scope="cometapi",
        content_hash="c0ffee",
        status=Status.SUCCEEDED,
        external_task_id=f"bench-{number:024}-a1",
        request={"prompt": "a clip", "model_name": "kling-v2-5-turbo", "duration": "5"},
        source="bench.yaml:1",
        priority=0,
        output=f"bench/clip-{number}",
        attempt=1,
        generation_id=str(number),
        attempts_allowed=1,
        cost_usd=0.35,
        cost_is_estimate=True,
        error_class=None,
        error_code=None,
        error_message=None,
        not_before=None,
        created_at=now,
        submitted_at=now,
        finished_at=now,
        overdue=False,
        orphaned=False,
    )


def curl(urls: list[str], certificate: Path, home: Path) -> Cost:
    folder = home / "curl"
    config = "".join(f'url = "{url}"\noutput = "{folder}/{n}.mp4"\n' for n, url in enumerate(urls))
    (home / "curl.config").write_text(config)
    command = ["curl", "-Z", "--no-progress-meter", "--cacert", certificate, "-K", home / "curl.config"]
    return _command(command, folder)


def aria2c(urls: list[str], certificate: Path, home: Path) -> Cost:
    folder = home / "aria2c"
    (home / "aria2c.list").write_text("".join(f"{url}\n  out={n}.mp4\n" for n, url in enumerate(urls)))
    options = [f"--ca-certificate={certificate}", f"--dir={folder}", f"--input-file={home / 'aria2c.list'}"]
    return _command(["aria2c", "--quiet", "--no-conf", *options], folder)


def _command(command: list[str | Path], folder: Path) -> Cost:
    folder.mkdir()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True)
    wall_s, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    assert [clip.stat().st_size for clip in folder.iterdir()] == [FILE_BYTES] * FILES
    shutil.rmtree(folder)
    return Cost(wall_s, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


# ---- the server -------------------------------------------------------------------------------------------------


def clip() -> bytes:
    """A clip that plays, and a box that players skip up to the size wanted."""
    film = sample()
    rest = FILE_BYTES - len(film)
    return film + rest.to_bytes(4, "big") + b"free" + os.urandom(rest - 8)


@contextmanager
def serving(certificate: Path) -> Iterator[tuple[int, Callable[[], float]]]:
    """A port, and how many seconds of CPU the server has taken. A process a connection: none waits for another."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    body = clip()
    server = os.fork()
    if not server:
        _serve(listener, certificate, body)
    port = listener.getsockname()[1]
    listener.close()
    try:
        yield port, partial(_cpu_s_of, server)
    finally:
        os.kill(server, signal.SIGTERM)
        os.waitpid(server, 0)


def _serve(listener: socket.socket, certificate: Path, body: bytes) -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        connection, _ = listener.accept()
        if not os.fork():
            with suppress(OSError, ValueError):
                _talk(context.wrap_socket(connection, server_side=True), body)
            os._exit(0)
        connection.close()


def _talk(connection: ssl.SSLSocket, body: bytes) -> None:
    with connection, connection.makefile("rb") as asked:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        is_last = False
        while not is_last and asked.readline():
            while (line := asked.readline()) not in (b"\r\n", b""):
                is_last |= line.lower() == b"connection: close\r\n"
            connection.sendall(head)
            connection.sendall(body)


def _cpu_s_of(pid: int) -> float:
    """Of the server and its children that ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def write_certificate(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, *form) + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path


if __name__ == "__main__":
    main()
