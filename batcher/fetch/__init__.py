"""The CDN client: brings one file from a signed URL into an open file.

Knows nothing of tasks, keys or the API. Shares no connection, header or cookie with the API client, so the key
cannot reach a CDN.
"""

from batcher.fetch.interface import Fetch, Fetched, FetchError, FetchFault, Intake
from batcher.fetch.origin import KLING_HOSTS, FetchPolicy, Target, check_address, check_url
from batcher.fetch.resume import Notes, Version
from batcher.fetch.threads import threaded_fetch

__all__ = [
    "KLING_HOSTS",
    "Fetch",
    "FetchError",
    "FetchFault",
    "FetchPolicy",
    "Fetched",
    "Intake",
    "Notes",
    "Target",
    "Version",
    "check_address",
    "check_url",
    "threaded_fetch",
]
