"""The memory of the machine, as far as this process may use it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

GIB = 2**30


class Memory(NamedTuple):
    """In bytes."""

    total: int
    free: int


def memory_of(device: torch.device) -> Memory:
    """The memory of an accelerator, or of the machine within the limits that a container or a job is given."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return Memory(total, free)
    whole = _physical()
    limits = [whole, *_group_limits(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup"))]
    return Memory(min(memory.total for memory in limits), max(0, min(memory.free for memory in limits)))


def room_for_text(grows: int) -> int:
    """Bytes that a text may have which takes `grows` times its size while it is read and used."""
    return memory_of(torch.device("cpu")).free // grows


def _physical() -> Memory:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        values = {name: 1024 * int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        return Memory(values["MemTotal"], values["MemAvailable"])
    except (OSError, KeyError, ValueError):  # no Linux
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Memory(total, total)


def _group_limits(groups: Path, mounted: Path) -> Iterator[Memory]:
    """What the control groups (version 2, then 1) of this process allow; nothing where there are none."""
    try:
        own = next(line[3:] for line in groups.read_text(encoding="utf-8").splitlines() if line.startswith("0::"))
    except (OSError, StopIteration):
        own = "/"
    below = mounted / own.strip("/")
    for folder in (below, *below.parents):
        if folder.is_relative_to(mounted):
            yield from _limit(folder / "memory.max", folder / "memory.current", folder / "memory.stat", "inactive_file")
    old = mounted / "memory"
    yield from _limit(
        old / "memory.limit_in_bytes", old / "memory.usage_in_bytes", old / "memory.stat", "total_inactive_file"
    )


def _limit(most: Path, used: Path, statistics: Path, reclaimable: str) -> Iterator[Memory]:
    try:
        limit, now = int(most.read_text()), int(used.read_text())
        pairs = (line.split() for line in statistics.read_text().splitlines())
        yield Memory(limit, limit - now + next((int(value) for name, value in pairs if name == reclaimable), 0))
    except (OSError, ValueError):  # no such group, or "max"
        return


def shown(size: float | int) -> str:
    """`3.2 GiB`, `410 MiB`."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size / 2**20:.0f} MiB"
