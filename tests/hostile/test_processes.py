"""Processes: start, become, signal, outlive, watch; and the kernel's stranger doors.

Each opens with the sandbox off, none in a sandbox.
"""

import pytest
from harness import available
from world import Probe, in_sandboxes, must_be_stopped, must_fire, twin_is_accepted

LEFT = "os.closerange(0, 64); libc.prctl(1, 0); import time; time.sleep(30); os._exit(0)"
# what a machine refuses by itself proves nothing: errno EPERM and ENOSYS outside of the sandbox
ASK = "r = {}\nif r >= 0:\n    got = 1.0\nelif os.getppid() > 0:\n    got = -1.0"


def call(name: str, expression: str) -> Probe:
    """A system call that succeeds where its answer is not negative."""
    return Probe(name, ASK.format(expression))


PROBES = [
    Probe("fork", f"pid = os.fork()\nif pid == 0:\n    {LEFT}\ngot = 1.0"),
    Probe("vfork and exec", "got = float(os.posix_spawn('/bin/sleep', ['sleep', '30'], {}) > 0)"),
    Probe(
        "clone",
        "pid = libc.syscall(56, 17, 0, 0, 0, 0)\nif pid == 0:\n    libc._exit(0)\ngot = float(pid > 0)",
    ),
    Probe(
        "clone3",
        "args = struct.pack('11Q', 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)\npid = libc.syscall(435, args, 88)\nif pid == 0:\n    libc._exit(0)\ngot = float(pid > 0)",
    ),
    Probe("exec", "os.execv('/bin/true', ['true'])"),
    Probe(
        "execveat",
        "d = os.open('/bin/true', os.O_PATH)\nargv = (ctypes.c_char_p * 2)(b'true', None)\nlibc.syscall(322, d, b'', argv, None, 0x1000)",
    ),
    Probe(
        "subprocess",
        "import subprocess\ngot = float(subprocess.run(['/bin/true']).returncode == 0)",
    ),
    Probe("os.system", "got = float(os.system('true') == 0)"),
    Probe("popen", "got = float(len(os.popen('echo 1').read()))"),
    Probe(
        "multiprocessing",
        "import multiprocessing\np = multiprocessing.get_context('fork').Process(target=len, args=([],))\np.start()\ngot = float(p.pid > 0)",
    ),
    Probe(
        "a thread",
        "import threading\nout = []\nt = threading.Thread(target=out.append, args=(1,))\nt.start()\nt.join()\ngot = float(len(out))",
    ),
    Probe(
        "a thread in C",
        "T = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p)\nf = T(lambda x: None)\nh = ctypes.c_ulong()\ngot = float(libc.pthread_create(ctypes.byref(h), None, f, None) == 0)\nif got:\n    libc.pthread_join(h, None)",
    ),
    Probe(
        "an orphan that leaves the session",
        f"pid = os.fork()\nif pid == 0:\n    os.setsid()\n    if os.fork():\n        os._exit(0)\n    {LEFT}\nos.waitpid(pid, 0)\ngot = 1.0",
    ),
    Probe("kill another process", "os.kill(@PID@, 9)\ngot = 1.0"),
    Probe("stop another process", "os.kill(@PID@, 19)\ngot = 1.0"),
    Probe("look for another process", "os.kill(@PID@, 0)\ngot = 1.0"),
    Probe("signal the parent", "os.kill(os.getppid(), 0)\ngot = 1.0"),
    Probe("signal its group", "os.killpg(0, 0)\ngot = 1.0"),
    Probe("signal everybody", "os.kill(-1, 0)\ngot = 1.0"),
    Probe("tgkill", "got = float(libc.syscall(234, @PID@, @PID@, 0) == 0)"),
    Probe(
        "rt_sigqueueinfo",
        "b = ctypes.create_string_buffer(128)\nstruct.pack_into('iii', b, 0, 0, 0, -1)\ngot = float(libc.syscall(129, @PID@, 0, b) == 0)",
    ),
    Probe("a descriptor of a process", "got = float(os.pidfd_open(@PID@) > 0)"),
    Probe("raise a signal in itself", "import signal\nsignal.raise_signal(28)\ngot = 1.0"),
    Probe("abort", "os.abort()"),
    Probe("another process's priority", "os.setpriority(os.PRIO_PROCESS, @PID@, 5)\ngot = 1.0"),
    Probe(
        "another process's limits",
        "import resource\nresource.prlimit(@PID@, resource.RLIMIT_CORE, (0, 0))\ngot = 1.0",
    ),
    Probe(
        "its own limits",
        "import resource\ngot = float(resource.getrlimit(resource.RLIMIT_AS)[0] > 0)",
    ),
    Probe(
        "another process's processors",
        "os.sched_setaffinity(@PID@, os.sched_getaffinity(@PID@))\ngot = 1.0",
    ),
    Probe("its own processors", "got = float(len(os.sched_getaffinity(0)))"),
    Probe("its session", "pid = os.getsid(0)\ngot = float(pid > 0)"),
    Probe("its group", "got = float(os.getpgid(0) > 0)"),
    Probe("undo the parent-death signal", "got = float(libc.prctl(1, 0, 0, 0, 0) == 0)"),
    Probe("make itself readable", "got = float(libc.prctl(4, 1, 0, 0, 0) == 0)"),
    Probe("be called something else", "got = float(libc.prctl(15, b'init', 0, 0, 0) == 0)"),
    Probe("another filter", "got = float(libc.prctl(38, 1, 0, 0, 0) == 0)"),
    Probe(
        "a handler for a signal",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ngot = 1.0",
    ),
    Probe("an alarm", "import signal\nsignal.setitimer(signal.ITIMER_REAL, 500)\ngot = 1.0"),
    Probe(
        "a timer", "t = ctypes.c_int()\ngot = float(libc.syscall(222, 1, 0, ctypes.byref(t)) == 0)"
    ),
    Probe("sleep", "import time\ntime.sleep(0.001)\ngot = 1.0"),
    Probe("times of children", "got = float(len(os.times()) > 0 and os.getppid() > 0)"),
    call("shared memory of System V", "libc.shmctl(libc.shmget(0, 4096, 0o1600), 0, None)"),
    call("a semaphore of System V", "libc.semctl(libc.semget(0, 1, 0o1600), 0, 0)"),
    call("a message queue of System V", "libc.msgctl(libc.msgget(0, 0o1600), 0, None)"),
    call(
        "shared memory of POSIX",
        "libc.shm_open(b'/autoreward-test', 0o102, 0o600)\nlibc.shm_unlink(b'/autoreward-test')",
    ),
    call(
        "a message queue of POSIX",
        "libc.mq_open(b'/autoreward-test', 0o102, 0o600, None)\nlibc.mq_unlink(b'/autoreward-test')",
    ),
    call("inotify", "libc.inotify_init1(0)"),
    call("fanotify", "libc.fanotify_init(0x200, 0)"),
    call("epoll", "libc.epoll_create1(0)"),
    call("eventfd", "libc.eventfd(0, 0)"),
    call("signalfd", "libc.signalfd(-1, ctypes.create_string_buffer(128), 0)"),
    call("timerfd", "libc.timerfd_create(1, 0)"),
    call("memfd_secret", "libc.syscall(447, 0)"),
    call("userfaultfd", "libc.syscall(323, 1)"),
    call("bpf", "libc.syscall(321, 0, struct.pack('IIII', 2, 4, 4, 1) + bytes(112), 128)"),
    call(
        "perf_event_open", "libc.syscall(298, struct.pack('II', 1, 112) + bytes(104), 0, -1, -1, 0)"
    ),
    call("keyctl", "libc.syscall(250, 0, -3, 1)"),
    call("add_key", "libc.syscall(248, b'user', b'x', b'y', 1, -1)"),
    call("personality", "libc.personality(0xffffffff)"),
    call("unshare", "libc.unshare(0)"),
    call("a namespace of users", "libc.unshare(0x10000000)"),
    call("a namespace of mounts", "libc.unshare(0x20000)"),
    call("fsopen", "libc.syscall(430, b'tmpfs', 0)"),
    call("kcmp", "libc.syscall(312, os.getpid(), os.getpid(), 0, 0, 0)"),
    call("landlock of its own", "libc.syscall(444, None, 0, 1)"),
    call("the kernel's random numbers", "libc.getrandom(ctypes.create_string_buffer(8), 8, 0)"),
    call("membarrier", "libc.syscall(324, 0, 0, 0)"),
    call(
        "rseq and robust lists",
        "libc.syscall(274, 0, ctypes.byref(ctypes.c_void_p()), ctypes.byref(ctypes.c_size_t()))",
    ),
    call("uid", "libc.getuid()"),
    call("a new identity", "libc.setuid(os.getuid())"),
    call("executable memory", "0 if libc.mmap(0, 4096, 7, 0x22, -1, 0) not in (-1,) else -1"),
    call(
        "memory made executable",
        "libc.mprotect(ctypes.c_void_p((ctypes.addressof(ctypes.create_string_buffer(8192)) + 4095) & ~4095), 1, 7)",
    ),
    call("its own number", "libc.syscall(39)"),
    call("lock memory", "libc.mlock(ctypes.create_string_buffer(64), 64)"),
]


@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_with_the_sandbox_off_it_fires(bench, world, probe):
    must_fire(bench, world, probe)


@pytest.mark.parametrize(("probe", "sandbox"), in_sandboxes(PROBES), ids=str)
def test_in_the_sandbox_it_does_not(bench, shared, probe, sandbox):
    must_be_stopped(bench, shared, probe, available(sandbox))


def test_its_twin_is_accepted(bench):
    twin_is_accepted(bench, PROBES[0])


@pytest.mark.parametrize("sandbox", ["template", "cold", "bwrap"])
@pytest.mark.parametrize("number", [0x40000000 + 39, 0x40000000 + 57, -1, 1 << 31, 500])
def test_calls_of_other_tables_and_calls_that_do_not_exist(bench, shared, sandbox, number):
    kind, terms = bench.run(
        shared.program(f"r = libc.syscall({number})\ngot = float(r >= 0)"), available(sandbox)
    )
    assert kind == "crash" or (terms == 0).all()
