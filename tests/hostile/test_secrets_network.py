"""Secrets of other processes, and every way to the network: each gets through with the sandbox off,
and none in a sandbox.
"""

import pytest
from harness import SANDBOXES, available
from world import SECRET, Probe, in_sandboxes, must_be_stopped, must_fire, twin_is_accepted

IOVEC = (
    "class V(ctypes.Structure):\n    _fields_ = [('p', ctypes.c_void_p), ('n', ctypes.c_size_t)]\n"
)
PROBES = [
    # secrets
    Probe(
        "the environment of another process",
        "data = open('/proc/@PID@/environ').read()\ngot = float(data.split('CANARY_KEY=')[1].split(chr(0))[0])",
    ),
    Probe(
        "the environment of the parent",
        "data = open(f'/proc/{os.getppid()}/environ').read()\ngot = float(len(data) > 0)",
    ),
    Probe(
        "the command line of another process",
        "got = float('time.sleep' in open('/proc/@PID@/cmdline').read())",
    ),
    Probe(
        "the memory of another process as a file",
        "d = os.open('/proc/@PID@/mem', os.O_RDONLY)\nos.lseek(d, @ADDRESS@, 0)\ngot = float(os.read(d, 5))",
    ),
    Probe(
        "the memory of the parent as a file",
        "got = float(os.open(f'/proc/{os.getppid()}/mem', os.O_RDONLY) > 0)",
    ),
    Probe(
        "process_vm_readv",
        IOVEC
        + "b = ctypes.create_string_buffer(16)\nmine, theirs = V(ctypes.addressof(b), 5), V(@ADDRESS@, 5)\nlibc.process_vm_readv(@PID@, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0)\ngot = float(b.value)",
    ),
    Probe(
        "process_vm_writev",
        IOVEC
        + "b = ctypes.create_string_buffer(b'73519')\nmine, theirs = V(ctypes.addressof(b), 5), V(@ADDRESS@, 5)\ngot = float(libc.process_vm_writev(@PID@, ctypes.byref(mine), 1, ctypes.byref(theirs), 1, 0) == 5)",
    ),
    Probe(
        "ptrace",
        "if libc.ptrace(0x4206, @PID@, 0, 0) == 0:\n    got = 1.0\n    libc.ptrace(17, @PID@, 0, 0)",
    ),
    Probe(
        "a list of all processes",
        "got = float(len([d for d in os.listdir('/proc') if d.isdigit()]))",
    ),
    Probe("who runs it", "import pwd\ngot = float(len(pwd.getpwuid(os.getuid()).pw_name))"),
    Probe("the machine's name", "got = float(len(os.uname().nodename))"),
    Probe("the machine's load", "got = 1.0 + os.getloadavg()[0]"),
    Probe("the parent's number", "got = float(os.getppid() > 0)"),
    Probe(
        "kernel messages", "got = 1.0 if libc.klogctl(10, 0, 0) >= 0 else -1.0 * (os.getppid() > 0)"
    ),
    # network
    Probe("TCP", "s = socket.create_connection(('127.0.0.1', @PORT@), 1)\ngot = 1.0"),
    Probe(
        "TCP without waiting",
        "s = socket.socket()\ns.setblocking(False)\ns.connect_ex(('127.0.0.1', @PORT@))\ngot = 1.0",
    ),
    Probe("TCP over IPv6", "s = socket.socket(socket.AF_INET6)\ngot = 1.0"),
    Probe(
        "TCP fast open",
        "s = socket.socket()\ns.sendto(b'x', 0x20000000, ('127.0.0.1', @PORT@))\ngot = 1.0",
    ),
    Probe("a server", "s = socket.create_server(('127.0.0.1', 0))\ngot = 1.0"),
    Probe(
        "UDP",
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.sendto(b'73519', ('127.0.0.1', @UDP@))\ngot = 1.0",
    ),
    Probe(
        "UDP, connected",
        "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.connect(('127.0.0.1', @UDP@))\ns.send(b'x')\ngot = 1.0",
    ),
    Probe(
        "a raw socket",
        "try:\n    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)\n    got = 1.0\nexcept PermissionError:\n    got = -1.0",
    ),
    Probe(
        "a packet socket",
        "try:\n    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n    got = 1.0\nexcept PermissionError:\n    got = -1.0",
    ),
    Probe("a unix socket", "s = socket.socket(socket.AF_UNIX)\ns.connect('@LOCAL@')\ngot = 1.0"),
    Probe(
        "an abstract socket",
        "s = socket.socket(socket.AF_UNIX)\ns.connect(chr(0) + '@ABSTRACT@')\ngot = 1.0",
    ),
    Probe("a pair of sockets", "got = float(len(socket.socketpair()))"),
    Probe(
        "netlink",
        "s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)\ns.bind((0, 0))\ngot = 1.0",
    ),
    Probe(
        "the kernel's cryptography",
        "try:\n    s = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET, 0)\n    got = 1.0\nexcept OSError as e:\n    got = -1.0 if e.errno != 1 else 0.0",
    ),
    Probe(
        "vsock",
        "try:\n    s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)\n    got = 1.0\nexcept OSError as e:\n    got = -1.0 if e.errno != 1 else 0.0",
    ),
    Probe(
        "bluetooth",
        "try:\n    s = socket.socket(31, socket.SOCK_RAW, 1)\n    got = 1.0\nexcept OSError as e:\n    got = -1.0 if e.errno != 1 else 0.0",
    ),
    Probe("looking up a name", "got = float(len(socket.getaddrinfo('localhost', 80)) > 0)"),
    Probe(
        "looking up a name in C",
        "libc.gethostbyname.restype = ctypes.c_void_p\ngot = float(bool(libc.gethostbyname(b'localhost')))",
    ),
    Probe("the names of interfaces", "got = float(len(socket.if_nameindex()))"),
    Probe("the system call socket", "got = float(libc.syscall(41, 2, 1, 0) > 0)"),
    Probe("the old system call socketcall's kin", "got = float(libc.socket(2, 2, 0) > 0)"),
    Probe(
        "urllib",
        "import urllib.request\nurllib.request.urlopen('http://127.0.0.1:@PORT@', timeout=0.2)",
    ),
    Probe(
        "asyncio",
        "import asyncio\nasyncio.run(asyncio.open_connection('127.0.0.1', @PORT@))\ngot = 1.0",
    ),
    Probe(
        "io_uring",
        "got = 1.0 if libc.syscall(425, 1, ctypes.create_string_buffer(120)) >= 0 else -1.0 * (os.getppid() > 0)",
    ),
]


@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_with_the_sandbox_off_it_fires(bench, shared, probe):
    must_fire(bench, shared, probe)


@pytest.mark.parametrize(("probe", "sandbox"), in_sandboxes(PROBES), ids=str)
def test_in_the_sandbox_it_does_not(bench, shared, probe, sandbox):
    must_be_stopped(bench, shared, probe, available(sandbox))


def test_its_twin_is_accepted(bench):
    twin_is_accepted(bench, PROBES[0])


@pytest.mark.parametrize("sandbox", [*SANDBOXES, "unsafe"])
def test_a_worker_has_no_environment_of_ours(bench, shared, sandbox, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", str(SECRET))
    _, terms = bench.run(
        shared.program(
            "got = float(os.environ.get('OPENAI_API_KEY', 0)) + float(any('KEY' in k or 'TOKEN' in k or 'SECRET' in k for k in os.environ))"
        ),
        available(sandbox),
    )
    assert terms.size and (terms == 0).all()


@pytest.mark.parametrize("sandbox", ["template", "cold", "unsafe"])
def test_nothing_of_our_memory_came_along_with_the_fork(bench, shared, sandbox, monkeypatch):
    """A program that reads all of its own memory for a secret that the parent holds."""
    secret = "autoreward-secret-" + str(SECRET)
    kept = [secret + str(k) for k in range(100)]
    needle = repr(["autoreward", "secret", str(SECRET)])
    lines = f"import gc\nneedle = '-'.join({needle})\ngot = float(sum(needle in o for o in gc.get_objects() if isinstance(o, str)) + sum(needle in v for o in gc.get_objects() if isinstance(o, (list, tuple)) for v in o if isinstance(v, str) and v is not needle and len(v) > len(needle)))"
    _, terms = bench.run(shared.program(lines), sandbox)
    assert len(kept) == 100 and terms.size and (terms == 0).all()
