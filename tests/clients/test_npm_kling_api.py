"""A real client, npm's kling-api 1.0.0, works against the real simulator process. It insists on https."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import os
import shutil
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from batcher.simulator.clips import sample

pytestmark = [pytest.mark.npm, pytest.mark.timeout(120)]

SCRIPT = Path(__file__).with_name("kling_api.mjs")
SIMULATE = [sys.executable, "-c", "from batcher.cli.simulate import simulate; simulate()"]


def skip_or_fail(reason):
    """Where CI runs, a client that cannot be had is a failure; on a desk it is not."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def client(tmp_path):
    """A folder in which node finds kling-api 1.0.0."""
    for tool in ("node", "npm"):
        if not shutil.which(tool):
            skip_or_fail(f"{tool} is not installed")
    install = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "kling-api@1.0.0"]
    folder = tmp_path / "client"
    folder.mkdir()
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    try:
        subprocess.run(install, cwd=folder, check=True, capture_output=True, text=True, timeout=45)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        skip_or_fail(f"npm could not install kling-api 1.0.0: {error}; {error.stderr}")
    return folder


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "simulator")])
    now = dt.datetime.now(dt.UTC)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(loopback, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certfile, keyfile = tmp_path / "cert.pem", tmp_path / "key.pem"
    certfile.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    keyfile.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certfile, keyfile


@pytest.fixture
def simulator(certificate):
    """The URL of `batcher simulate` on https, a fast one."""
    certfile, keyfile = certificate
    command = [*SIMULATE, "--certfile", certfile, "--keyfile", keyfile, "--time-scale", "0.001"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process.stdout.readline().split()[3]
        process.terminate()
        process.communicate(timeout=10)


def test_a_client_nobody_here_wrote_creates_polls_succeeds_and_meets_both_1201s(client, certificate, simulator):
    script = shutil.copy(SCRIPT, client)
    done = subprocess.run(
        ["node", script, simulator, "access-key", "fox-1"],
        cwd=client,
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(certificate[0])},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["created"]["data"]["task_status"] == "submitted"
    assert report["result"]["data"]["task_status"] == "succeed"
    assert report["byExternalId"] == report["created"]["data"]["task_id"]
    assert (report["type"], report["bytes"] > len(sample()) / 2) == ("video/mp4", True)
    assert (report["again"]["code"], report["again"]["message"]) == (1201, "External_task_id fox-1 already exists")
    assert report["unknown"]["code"] == 1201
    assert report["unknown"]["message"] == "Task not found by id/external id: nobody"

    trust = ssl.create_default_context(cafile=certificate[0])
    totals = httpx.get(f"{simulator}/_ledger", verify=trust).json()["totals"]
    assert (totals["creates"], totals["charged"], totals["downloads"], totals["leaks"]) == (2, 1, 1, 0)
