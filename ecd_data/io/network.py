"""The permission to use the network: ECD_OFFLINE, which `ecd --offline` sets, takes it away."""

from __future__ import annotations

import os
import re

from ecd_data.errors import EcdError

OFFLINE = "ECD_OFFLINE"
NO = ("", "0", "false", "no", "off")  # values of ECD_OFFLINE that leave the network allowed


LOCAL_PROTOCOLS = {  # of fsspec; files in memory, in archives and in caches need no network of their own
    *("file", "local", "memory", "dir", "zip", "tar", "simplecache", "filecache", "blockcache", "cached")
}


class OfflineError(EcdError):
    """Something has to come from the network, which ECD_OFFLINE forbids."""


def is_offline() -> bool:
    """Whether ECD_OFFLINE forbids the use of the network."""
    return os.environ.get(OFFLINE, "").strip().lower() not in NO


def refuse_network(what: str) -> None:
    """Raise OfflineError if ECD_OFFLINE forbids the network; `what` names the URL or thing that would come from it."""
    if is_offline():
        raise OfflineError(
            f"{what} would come from the network, which --offline or {OFFLINE} forbids: leave it out, or use files of"
            " this machine"
        )


def refuse_remote_url(url: str) -> None:
    """Raise OfflineError if an fsspec URL is on the network, which ECD_OFFLINE forbids."""
    if not set(re.findall(r"([A-Za-z][\w+.-]*)://", url)) <= LOCAL_PROTOCOLS:
        refuse_network(url)
