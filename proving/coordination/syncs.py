"""What of a file had been synced when its writer died: a library, loaded before the C library, keeps a record of it."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int synced(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    struct stat before;
    int known = fstat(fd, &before) == 0;
    int result = real(fd);
    if (result == 0 && known) {
        char line[64];
        int size = snprintf(line, sizeof line, "%llu %lld\n",
                            (unsigned long long)before.st_ino, (long long)before.st_size);
        int record = open(getenv("SYNCS_RECORD"), O_WRONLY | O_APPEND | O_CREAT, 0600);
        if (record >= 0) {
            if (write(record, line, size) != size) abort();
            close(record);
        }
    }
    return result;
}

int fdatasync(int fd) { return synced("fdatasync", fd); }
int fsync(int fd) { return synced("fsync", fd); }
"""


def compiler() -> str | None:
    """The C compiler of this machine; ``None`` where it has none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


class Syncs:
    """Watches whom it is told to start.

    Args:
        home: A folder for the library and its record.
    """

    def __init__(self, home: Path) -> None:
        self._library = home / "syncs.so"
        self._record = home / "record"
        (home / "syncs.c").write_text(_SOURCE)
        made = [str(compiler()), "-shared", "-fPIC", "-O1", "-o", str(self._library), str(home / "syncs.c"), "-ldl"]
        subprocess.run(made, check=True)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Whoever is started within is watched."""
        os.environ.update(LD_PRELOAD=str(self._library), SYNCS_RECORD=str(self._record))
        try:
            yield
        finally:
            del os.environ["LD_PRELOAD"], os.environ["SYNCS_RECORD"]

    def forget_the_rest(self, file: Path) -> int:
        """Cut off what no sync had covered, as a machine does that loses power; how many bytes that were."""
        status = file.stat()
        records = [line.split() for line in self._record.read_text().splitlines()]
        kept = max((int(size) for inode, size in records if int(inode) == status.st_ino), default=0)
        with file.open("r+b") as opened:
            opened.truncate(kept)
        return status.st_size - kept
