"""The system calls that no program in a box may make, as a BPF program.

Namespaces hide the host's files and processes, but not its kernel: keyrings, io_uring, vsock, new
user namespaces and the like are reached by system calls, so a filter is not optional. Assembled
here, because libseccomp is not everywhere and a box must not depend on luck.
"""

from __future__ import annotations

import errno
import struct

import msgspec

_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24
"""Offsets in struct seccomp_data; the low words of arguments on little-endian machines."""
_KILL, _ERRNO, _ALLOW = 0x8000_0000, 0x0005_0000, 0x7FFF_0000

_X32 = 0x4000_0000
_NEW_NAMESPACES = 0x7E02_0080
"""CLONE_NEWTIME, NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""
_FAMILIES = {"unix": 1, "inet": 2, "inet6": 10}
_TTY_INJECTION = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX put characters into somebody's terminal (CVE-2017-5226)."""


class Architecture(msgspec.Struct, frozen=True, kw_only=True):
    """The numbers of one processor architecture, from the kernel's headers."""

    audit: int
    x32: bool = False
    clone: int
    prlimit64: int
    socket: int
    socketpair: int
    ioctl: int
    memfd_create: int
    shmget: int
    refused: tuple[int, ...]


_COMMON = (
    *(425, 426, 427),  # io_uring_setup, io_uring_enter, io_uring_register
    *(428, 429, 430, 431, 432, 433, 442, 467),  # open_tree … fspick, mount_setattr, open_tree_attr
    *(438, 440, 443, 447),  # pidfd_getfd, process_madvise, quotactl_fd, memfd_secret
)
_CLONE3 = 435

X86_64 = Architecture(
    audit=0xC000_003E,
    x32=True,
    clone=56,
    prlimit64=302,
    socket=41,
    socketpair=53,
    ioctl=16,
    memfd_create=319,
    shmget=29,
    refused=(
        *_COMMON,
        *(248, 249, 250),  # add_key, request_key, keyctl
        *(321, 323, 298),  # bpf, userfaultfd, perf_event_open
        *(165, 166, 155, 161),  # mount, umount2, pivot_root, chroot
        *(308, 272),  # setns, unshare
        *(101, 310, 311, 312),  # ptrace, process_vm_readv, process_vm_writev, kcmp
        *(246, 320, 174, 175, 313, 176, 177, 178),  # kexec and modules
        *(169, 167, 168, 163, 179, 103),  # reboot, swapon, swapoff, acct, quotactl, syslog
        *(
            303,
            304,
            300,
            212,
        ),  # name_to_handle_at, open_by_handle_at, fanotify_init, lookup_dcookie
        *(203, 144, 142, 314, 141, 251),  # sched_set*, setpriority, ioprio_set
        *(256, 279, 237, 238),  # migrate_pages, move_pages, mbind, set_mempolicy
        *(164, 227, 159, 305),  # settimeofday, clock_settime, adjtimex, clock_adjtime
        *(172, 173, 154, 153, 134, 136, 139, 156, 180),  # iopl … nfsservctl
        *(170, 171),  # sethostname, setdomainname
    ),
)

AARCH64 = Architecture(
    audit=0xC000_00B7,
    clone=220,
    prlimit64=261,
    socket=198,
    socketpair=199,
    ioctl=29,
    memfd_create=279,
    shmget=194,
    refused=(
        *_COMMON,
        *(217, 218, 219),  # add_key, request_key, keyctl
        *(280, 282, 241),  # bpf, userfaultfd, perf_event_open
        *(40, 39, 41, 51),  # mount, umount2, pivot_root, chroot
        *(268, 97),  # setns, unshare
        *(117, 270, 271, 272),  # ptrace, process_vm_readv, process_vm_writev, kcmp
        *(104, 294, 105, 273, 106),  # kexec and modules
        *(142, 224, 225, 89, 60, 116),  # reboot, swapon, swapoff, acct, quotactl, syslog
        *(264, 265, 262, 18),  # name_to_handle_at, open_by_handle_at, fanotify_init, lookup_dcookie
        *(122, 119, 118, 274, 140, 30),  # sched_set*, setpriority, ioprio_set
        *(238, 239, 235, 237),  # migrate_pages, move_pages, mbind, set_mempolicy
        *(170, 112, 171, 266),  # settimeofday, clock_settime, adjtimex, clock_adjtime
        *(58, 42, 161, 162),  # vhangup, nfsservctl, sethostname, setdomainname
    ),
)

ARCHITECTURES = {"x86_64": X86_64, "aarch64": AARCH64}
"""By the name that ``uname -m`` prints."""


def program(machine: Architecture, *, uncounted_memory: bool = True) -> bytes:
    """The filter, as bubblewrap's ``--seccomp`` takes it.

    ``uncounted_memory`` False refuses memfd_create and shmget too, with ENOSYS: where no cgroup
    counts, what they hold would escape every measurement. Programs fall back to files.
    """
    asm = _Assembler()
    asm.load(_ARCH)
    asm.unless_equal(machine.audit, "kill")
    asm.load(_NUMBER)
    if machine.x32:
        asm.jump(_JUMP_AT_LEAST, _X32, "kill")
    for number in machine.refused:
        asm.if_equal(number, "refuse")
    asm.if_equal(_CLONE3, "missing")  # its flags lie in memory; glibc then takes clone
    if not uncounted_memory:
        asm.if_equal(machine.memfd_create, "missing")
        asm.if_equal(machine.shmget, "missing")
    asm.if_equal(machine.clone, "clone")
    asm.if_equal(machine.prlimit64, "prlimit")
    asm.if_equal(machine.socket, "socket")
    asm.if_equal(machine.socketpair, "socket")
    asm.if_equal(machine.ioctl, "ioctl")
    asm.returns(_ALLOW)
    _arguments(asm)
    return asm.assembled()


def _arguments(asm: _Assembler) -> None:
    asm.label("clone")
    asm.load(_ARG0)
    asm.jump(_JUMP_ANY_BIT, _NEW_NAMESPACES, "refuse")
    asm.returns(_ALLOW)
    asm.label("prlimit")  # only of the caller itself: that of pid 1 would spoil later commands
    asm.load(_ARG0)
    asm.unless_equal(0, "refuse")
    asm.returns(_ALLOW)
    asm.label("socket")
    asm.load(_ARG0)
    for family in _FAMILIES.values():
        asm.if_equal(family, "allow")
    asm.returns(_ERRNO | errno.EAFNOSUPPORT)
    asm.label("ioctl")
    asm.load(_ARG1)
    for request in _TTY_INJECTION:
        asm.if_equal(request, "refuse")
    asm.label("allow")
    asm.returns(_ALLOW)
    asm.label("refuse")
    asm.returns(_ERRNO | errno.EPERM)
    asm.label("missing")
    asm.returns(_ERRNO | errno.ENOSYS)
    asm.label("kill")
    asm.returns(_KILL)


class _Assembler:
    """Two passes: instructions with labels, then offsets."""

    def __init__(self) -> None:
        self._code: list[tuple[int, int, str, str]] = []
        self._labels: dict[str, int] = {}

    def load(self, offset: int) -> None:
        self._code.append((_LOAD, offset, "", ""))

    def returns(self, value: int) -> None:
        self._code.append((_RETURN, value, "", ""))

    def jump(self, operation: int, value: int, target: str) -> None:
        self._code.append((operation, value, target, ""))

    def if_equal(self, value: int, target: str) -> None:
        self.jump(_JUMP_EQUAL, value, target)

    def unless_equal(self, value: int, target: str) -> None:
        self._code.append((_JUMP_EQUAL, value, "", target))

    def label(self, name: str) -> None:
        self._labels[name] = len(self._code)

    def assembled(self) -> bytes:
        return b"".join(
            struct.pack("<HBBI", operation, self._to(at, yes), self._to(at, no), value)
            for at, (operation, value, yes, no) in enumerate(self._code)
        )

    def _to(self, at: int, label: str) -> int:
        return self._labels[label] - at - 1 if label else 0
