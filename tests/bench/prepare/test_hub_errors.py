"""What the hub's client raises when the machine is at fault, said in one line (test_paper_suite: when the hub is)."""

from __future__ import annotations

import errno

import httpx2
import pytest

from bench.config.sources import HubModel
from bench.prepare.hub import _explaining
from swq.errors import UserError

MODEL = HubModel(source="hub", repo="someone/model", revision="0" * 40)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left on the disk under .*set HF_HOME to another"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/cache"),
            "cannot be fetched: .*Permission denied: '/cache'",
        ),
        (httpx2.RemoteProtocolError("peer closed"), r"the connection broke off \(peer closed\); run again"),
    ],
)
def test_what_the_machine_lacks_is_said_in_one_line(raised: Exception, said: str) -> None:
    with pytest.raises(UserError, match=f"model someone/model.*{said}") as caught, _explaining(MODEL, "model"):
        raise raised
    assert "\n" not in str(caught.value)


def test_a_bug_stays_a_bug() -> None:
    with pytest.raises(ZeroDivisionError), _explaining(MODEL, "model"):
        raise ZeroDivisionError
