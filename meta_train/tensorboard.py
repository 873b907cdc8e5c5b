"""Scalars for TensorBoard, written as its event files.

tensorboardX's SummaryWriter isn't used: a full disk ends its thread, and its queue then blocks the run.
"""

import os
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import summary
from tensorboardX.proto.event_pb2 import (  # these are created at import
    Event,  # pyright: ignore[reportAttributeAccessIssue]
    SessionLog,  # pyright: ignore[reportAttributeAccessIssue]
)
from tensorboardX.record_writer import masked_crc32c

from meta_train.appender import Appender


class TensorBoard:
    """A new event file in the folder. It hides the values of earlier files from `first_step` on."""

    def __init__(self, folder: Path, first_step: int):
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}"
        self._file = Appender(folder / name)
        self._write(
            Event(file_version="brain.Event:2"),
            Event(step=first_step, session_log=SessionLog(status=SessionLog.START)),
        )

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Scalars by name, at a step."""
        self._write(*(Event(step=step, summary=summary.scalar(name, value)) for name, value in scalars.items()))

    def _write(self, *events: Event) -> None:
        for event in events:
            event.wall_time = time.time()
        self._file.write(b"".join(_record(event.SerializeToString()) for event in events))


def _record(data: bytes) -> bytes:
    """A record of a TFRecord file: length and data, each with its checksum."""
    length = struct.pack("<Q", len(data))
    return b"".join([length, struct.pack("<I", masked_crc32c(length)), data, struct.pack("<I", masked_crc32c(data))])
