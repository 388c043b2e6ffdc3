"""Files: read, write, list, look at, change, link, map; by Python, by numpy, by the C library, by
descriptors that might have been inherited.
"""

import pytest
from harness import SANDBOXES, available
from world import Probe, in_sandboxes, must_be_stopped, must_fire, twin_is_accepted

READ = "got = float(open('@CANARY@').read())"
PROBES = [
    Probe("open", READ, "got = float('73519')"),
    Probe("open, binary", "got = float(open('@CANARY@', 'rb').read())", "got = float(b'73519')"),
    Probe("io.open", "import io\ngot = float(io.open('@CANARY@').read())"),
    Probe("_io.FileIO", "import _io\ngot = float(_io.FileIO('@CANARY@').read())"),
    Probe("os.open", "got = float(os.read(os.open('@CANARY@', os.O_RDONLY), 99))"),
    Probe("posix.open", "import posix\ngot = float(posix.read(posix.open('@CANARY@', 0), 99))"),
    Probe(
        "open beside a directory",
        "d = os.open('@DIR@', os.O_RDONLY)\ngot = float(os.read(os.open('canary', os.O_RDONLY, dir_fd=d), 99))",
    ),
    Probe("pathlib", "import pathlib\ngot = float(pathlib.Path('@CANARY@').read_text())"),
    Probe("codecs", "import codecs\ngot = float(codecs.open('@CANARY@').read())"),
    Probe("tokenize", "import tokenize\ngot = float(tokenize.open('@CANARY@').read())"),
    Probe("linecache", "import linecache\ngot = float(linecache.getline('@CANARY@', 1))"),
    Probe(
        "fileinput of numpy",
        "got = float(np.loadtxt('@CANARY@'))",
        "got = float(np.array([73519.0])[0])",
    ),
    Probe("np.load", "got = float(np.load('@ARRAY@')[0])"),
    Probe(
        "np.fromfile",
        "got = float(np.fromfile('@ARRAY@', np.float64)[-1])",
        "got = float(np.frombuffer(b'12345678', np.float64)[0] * 0 + 1)",
    ),
    Probe("np.memmap", "got = float(np.memmap('@ARRAY@', np.float64, 'r')[-1])"),
    Probe("np.genfromtxt", "got = float(np.genfromtxt('@CANARY@'))"),
    Probe("np.DataSource", "got = float(np.lib.npyio.DataSource().open('@CANARY@').read())"),
    Probe(
        "mmap",
        "import mmap\nd = os.open('@CANARY@', os.O_RDONLY)\ngot = float(mmap.mmap(d, 5, prot=mmap.PROT_READ).read())",
    ),
    Probe(
        "the C library's open",
        "d = libc.open(b'@CANARY@', 0)\nb = ctypes.create_string_buffer(99)\nlibc.read(d, b, 99)\ngot = float(b.value)",
    ),
    Probe(
        "the C library's fopen",
        "libc.fopen.restype = ctypes.c_void_p\nf = libc.fopen(b'@CANARY@', b'r')\nb = ctypes.create_string_buffer(99)\nlibc.fgets(b, 99, ctypes.c_void_p(f))\ngot = float(b.value)",
    ),
    Probe(
        "the system call openat2",
        "how = struct.pack('QQQ', 0, 0, 0)\nd = libc.syscall(437, -100, b'@CANARY@', how, 24)\nb = ctypes.create_string_buffer(99)\nlibc.read(d, b, 99)\ngot = float(b.value)",
    ),
    Probe(
        "a file handle",
        "h = ctypes.create_string_buffer(struct.pack('Ii', 120, 0), 128)\nm = ctypes.c_int()\ngot = 1.0 if libc.name_to_handle_at(-100, b'@CANARY@', h, ctypes.byref(m), 0) == 0 else 0.0",
    ),
    Probe(
        "sendfile",
        "r, w = os.pipe()\ngot = float(os.sendfile(w, os.open('@CANARY@', 0), 0, 5) == 5)",
    ),
    Probe(
        "an import from a folder",
        "open('@OUT@.py', 'w')\nsys.path.insert(0, '@DIR@')\nimport out\ngot = 1.0",
    ),
    Probe(
        "a module of the library that was not loaded",
        "import wave\ngot = 1.0",
        "import numpy.fft\ngot = float(np.fft.fft(np.ones(2))[0].real)",
    ),
    Probe(
        "a shared library",
        "got = float(ctypes.CDLL('libutil.so.1')._handle > 0 and os.path.exists('/'))",
    ),
    Probe("listdir", "got = float(len(os.listdir('@DIR@')))", "got = float(len([1, 2]))"),
    Probe("scandir", "got = float(len(list(os.scandir('@DIR@'))))"),
    Probe("walk", "got = float(len(next(os.walk('@DIR@'))[2]))"),
    Probe("stat", "got = float(os.stat('@CANARY@').st_size)", "got = float(curr.pos.nbytes > 0)"),
    Probe("lstat", "got = float(os.lstat('/').st_nlink)"),
    Probe("exists", "got = float(os.path.exists('@CANARY@'))"),
    Probe("access", "got = float(os.access('@CANARY@', os.R_OK))"),
    Probe(
        "statx",
        "b = ctypes.create_string_buffer(256)\ngot = float(libc.statx(-100, b'@CANARY@', 0, 0xfff, b) == 0)",
    ),
    Probe("statvfs", "got = float(os.statvfs('/').f_bsize)"),
    Probe("readlink", "got = float(len(os.readlink('/proc/self/exe')))"),
    Probe("realpath", "got = float(os.path.realpath('/proc/self/exe', strict=True) != '')"),
    Probe("getcwd", "got = float(len(os.getcwd()))"),
    Probe("extended attributes", "os.setxattr('@CANARY@', 'user.x', b'1')\ngot = 1.0"),
    Probe("write", "open('@OUT@', 'w')\ngot = 1.0"),
    Probe("append", "open('@CANARY@', 'a').close()\nos.utime('@CANARY@')\ngot = 1.0"),
    Probe("truncate", "os.truncate('@CANARY@', 0)\ngot = 1.0"),
    Probe("np.save", "np.save('@OUT@', np.ones(0))\ngot = 1.0"),
    Probe("np.savetxt", "np.savetxt('@OUT@', np.ones(0))\ngot = 1.0"),
    Probe(
        "tofile",
        "np.ones(0).tofile('@OUT@')\ngot = 1.0",
        "got = float(len(np.ones(1).tobytes()))",
        lint="",
    ),
    Probe("unlink", "os.unlink('@CANARY@')\ngot = 1.0"),
    Probe("rename", "os.rename('@CANARY@', '@OUT@')\ngot = 1.0"),
    Probe("mkdir", "os.mkdir('@OUT@')\ngot = 1.0"),
    Probe("rmdir", "os.rmdir('@DIR@/sub')\ngot = 1.0"),
    Probe("symlink", "os.symlink('/', '@OUT@')\ngot = 1.0"),
    Probe("link", "os.link('@CANARY@', '@OUT@')\ngot = 1.0"),
    Probe("a named pipe", "os.mkfifo('@OUT@')\ngot = 1.0"),
    Probe("chmod", "os.chmod('@CANARY@', 0o777)\ngot = 1.0"),
    Probe(
        "fchmodat2",
        "got = float(libc.syscall(452, -100, b'@CANARY@', 0o777, 0) == 0 or libc.chmod(b'@CANARY@', 0o777) == 0)",
    ),
    Probe("utime", "os.utime('@CANARY@', (1, 1))\ngot = 1.0"),
    Probe("chown", "os.chown('@CANARY@', os.getuid(), os.getgid())\ngot = 1.0"),
    Probe("chdir", "os.chdir('@DIR@')\ngot = 1.0"),
    Probe("umask", "os.umask(0)\ngot = 1.0 if os.umask(0) == 0 and os.getcwd() else 0.0"),
    Probe("/proc/self/maps", "got = float(len(open('/proc/self/maps').read()))"),
    Probe("/proc/self/fd", "got = float(len(os.listdir('/proc/self/fd')))"),
    Probe("/proc/self/mem", "got = float(bool(open('/proc/self/mem', 'r+b')))"),
    Probe("the machine's users", "got = float(len(open('/etc/passwd').read()))"),
    Probe("a device", "got = float(len(os.read(os.open('/dev/zero', 0), 9)))"),
    Probe("the terminal", "got = float(os.open('/dev/null', os.O_RDWR))"),
    Probe("standard input", "got = 1.0 if os.read(0, 9) == b'' else 0.0"),
    Probe("standard output", "got = float(os.write(1, b'x'))"),
    Probe("standard error", "got = float(os.write(2, b'x'))"),
    Probe("duplicate a descriptor", "got = float(os.dup(0) > 0)"),
    Probe("a pipe of its own", "got = float(os.pipe()[0])"),
    Probe("a file in memory", "got = float(os.memfd_create('x'))"),
    Probe("an open question of the kernel", "got = float(libc.fcntl(0, 1, 0) >= 0)"),
]


@pytest.mark.parametrize("probe", PROBES, ids=str)
def test_with_the_sandbox_off_it_fires(bench, world, probe):
    must_fire(bench, world, probe)


@pytest.mark.parametrize(("probe", "sandbox"), in_sandboxes(PROBES), ids=str)
def test_in_the_sandbox_it_does_not(bench, shared, probe, sandbox):
    must_be_stopped(bench, shared, probe, available(sandbox))


@pytest.mark.parametrize("twin", sorted({p.twin for p in PROBES}))
def test_its_twin_is_accepted(bench, twin):
    twin_is_accepted(bench, Probe("", "", twin))


@pytest.mark.parametrize("sandbox", SANDBOXES)
def test_descriptors_of_the_parent_are_not_inherited(bench, shared, sandbox):
    probe = Probe(
        "every descriptor",
        "for d in [@FD@, *range(5, 64)]:\n    try:\n        os.read(d, 1)\n        got = 1.0\n    except OSError as e:\n        pass",
    )
    must_be_stopped(bench, shared, probe, available(sandbox))
    kind, terms = bench.run(shared.program(probe.lines), "unsafe")
    assert kind == "" and (terms == 0).all(), "without a sandbox, too"
