"""Programs that others built: Debian's packages and wheels from the package index, with the results of native runs."""

from __future__ import annotations

import gzip
import hashlib
import random
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from support.debian import sysroot
from support.guests import run
from support.wheels import MUSL, PLATFORMS, program

PACKAGES = ("busybox-static", "bash", "coreutils", "python3", "libpython3-stdlib", "sqlite3", "libatomic1", "libstdc++6", "perl-base")


DEBIAN = {"riscv64": "riscv64", "aarch64": "arm64"}  # guest -> name of the Debian architecture


class Guest:
    """Debian's programs for one architecture."""

    def __init__(self, arch: str) -> None:
        self.arch = arch
        self.root = sysroot(DEBIAN[arch], *PACKAGES)

    def run(self, program: str | Path, *words: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
        """Run a program, one of Debian's if only named.  Debian's Python comes without compiled modules: keep those that it makes."""
        path = self.root / "usr/bin" / program if isinstance(program, str) else program
        return run(path, *words, arch=self.arch, options=["-L", str(self.root), "-U", "PYTHONDONTWRITEBYTECODE"], **more)

    def __call__(self, name: str, *words: str | Path, input: str | None = None, **more: object) -> str:
        """Run one of Debian's programs: its output.  Anything else than success fails."""
        done = self.run(name, *words, input=input, **more)
        assert (done.stderr, done.returncode) == ("", 0)
        return done.stdout

    def python(self, code: str, *words: str | Path) -> str:
        return self("python3", "-c", textwrap.dedent(code), *words)

    def wheel(self, package: str, platforms: tuple[str, ...] = PLATFORMS) -> Path:
        return program(package, self.arch, platforms=platforms)


@pytest.fixture(scope="module", params=list(DEBIAN))
def guest(request: pytest.FixtureRequest) -> Guest:
    return Guest(request.param)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 MiB of lines."""
    path = tmp_path_factory.mktemp("data") / "lines"
    source = random.Random(1)
    path.write_text("".join(f"{source.getrandbits(64):016x} {n % 977}\n" for n in range(400_000))[: 8 << 20])
    return path


# ---- busybox


def test_busybox_pipes(guest: Guest) -> None:
    script = r"""
        for i in 5 3 9 1; do echo "$i line"; done | sort -r | awk '{ s += $1; print NR ":" $0 } END { print s }'
        echo $((6 * 7)) "$(echo sub | tr a-z A-Z)"; (exit 4) || echo "status $?"
        printf 'a\nb\na\n' | sort | uniq -c | sed 's/^ *//'; expr 10 - 3; seq 3 | xargs echo
    """
    expected = "1:9 line\n2:5 line\n3:3 line\n4:1 line\n18\n42 SUB\nstatus 4\n2 a\n1 b\n7\n1 2 3\n"
    assert guest("busybox", "sh", "-c", script) == expected


def test_busybox_sha256sum(guest: Guest, data: Path) -> None:
    assert guest("busybox", "sha256sum", data) == f"{hashlib.sha256(data.read_bytes()).hexdigest()}  {data}\n"


def test_busybox_gzip(guest: Guest, data: Path, tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(data.read_bytes()[: 1 << 20])
    guest("busybox", "gzip", "-k", part)
    packed = part.with_name("part.gz")
    assert gzip.decompress(packed.read_bytes()) == part.read_bytes()
    assert guest("busybox", "sh", "-c", f"zcat {packed} | md5sum").split()[0] == hashlib.md5(part.read_bytes()).hexdigest()


def test_busybox_sort_and_awk(guest: Guest, data: Path) -> None:
    lines = data.read_text().splitlines()[:20_000]
    text = "\n".join(lines) + "\n"
    assert guest("busybox", "sort", input=text).splitlines() == sorted(lines)
    total = sum(int(line.split()[1]) for line in lines if len(line.split()) == 2)
    assert guest("busybox", "awk", "{ s += $2 } END { print s }", input=text) == f"{total}\n"


# ---- bash and coreutils


def test_bash(guest: Guest, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(
        textwrap.dedent(r"""
            set -u
            declare -A count
            for word in one two one three one; do count[$word]=$(( ${count[$word]:-0} + 1 )); done
            echo "${count[one]} ${count[two]} ${#count[@]}"
            fib() { if (( $1 < 2 )); then echo "$1"; else echo $(( $(fib $(( $1 - 1 ))) + $(fib $(( $1 - 2 ))) )); fi; }
            fib 7
            while read -r a b; do echo "$b-$a"; done < <(printf '1 x\n2 y\n')
            trap 'echo caught' USR1; kill -USR1 $$; trap - USR1
            sleep 5 & job=$!; kill $job; wait $job; echo "wait $?"
            cat <<< "here string" | tee >(tr a-z A-Z >&2) > /dev/null 2>&1; printf '%s|' {a..e} $((16#ff)); echo
            ( ulimit -n 64; ulimit -n ); [[ abc =~ ^a(.)c$ ]] && echo "${BASH_REMATCH[1]}"
            mapfile -t lines < <(seq 1000); echo "${#lines[@]} ${lines[999]}"
            exit 3
            """)
    )
    done = guest.run("bash", script)
    native = subprocess.run(["bash", script], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == (native.stdout, 3)
    assert done.stdout.startswith("3 1 3\n13\nx-1\ny-2\ncaught\n")


def test_coreutils(guest: Guest, data: Path, tmp_path: Path) -> None:
    assert guest("sha512sum", data).split()[0] == hashlib.sha512(data.read_bytes()).hexdigest()
    assert guest("wc", "-lc", data).split()[:2] == [str(data.read_text().count("\n")), str(data.stat().st_size)]
    for name in ("b", "a", "c"):
        (tmp_path / name).write_text(name * 3)
    (tmp_path / "link").symlink_to("a")
    assert guest("ls", tmp_path) == "a\nb\nc\nlink\n"
    assert guest("stat", "-c", "%s %a %F", tmp_path / "a") == f"3 {(tmp_path / 'a').stat().st_mode & 0o777:o} regular file\n"
    guest("cp", "-r", tmp_path, tmp_path.with_name("copy"))
    guest("mv", tmp_path / "a", tmp_path / "z")
    guest("rm", tmp_path / "b")
    guest("mkdir", "-p", tmp_path / "x/y")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c", "link", "x", "z"]
    assert guest("readlink", tmp_path / "link") == "a\n"
    assert guest("sort", "-n", "-k2", input="x 10\ny 9\n") == "y 9\nx 10\n"
    assert guest("factor", "1000000016000000063") == "1000000016000000063: 1000000007 1000000009\n"
    assert guest("date", "-u", "-d", "@1234567890", "+%F %T") == "2009-02-13 23:31:30\n"
    assert guest("env", "-i", "A=1", guest.root / "usr/bin/env") == "A=1\n"
    assert guest("dd", f"if={data}", "bs=1000", "skip=3", "count=2", "status=none") == data.read_text()[3000:5000]
    assert guest.run("timeout", "0.2", guest.root / "usr/bin/sleep", "9").returncode == 124


# ---- Python


def test_python_modules(guest: Guest) -> None:
    code = "import ssl, sqlite3, json; print(json.dumps([ssl.HAS_TLSv1_3, sqlite3.sqlite_version > '3.40']))"
    assert guest.python(code) == "[true, true]\n"


def test_python_arithmetic_equals_native(guest: Guest) -> None:
    code = """
        import math, random, hashlib, decimal, statistics
        r = random.Random(5)
        values = [r.uniform(-1e3, 1e3) for _ in range(2000)]
        functions = math.sin, math.exp, math.atan, lambda x: math.sqrt(abs(x)), lambda x: x ** 3
        out = [f(v).hex() for v in values for f in functions if abs(v) < 700]
        out += [repr(statistics.fmean(values)), str(decimal.Decimal(2).sqrt()), str(3 ** 5000 % 10 ** 40)]
        out += [repr(1e308 * 10), repr(5e-324 / 2)]
        print(hashlib.sha256("".join(out).encode()).hexdigest())
    """
    native = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert guest.python(code) == native.stdout


def test_python_threads(guest: Guest) -> None:
    code = """
        import queue, threading
        jobs, results = queue.Queue(), []
        lock = threading.Lock()
        def work():
            while (n := jobs.get()) is not None:
                with lock: results.append(n * n)
        threads = [threading.Thread(target=work) for _ in range(8)]
        for t in threads: t.start()
        for n in range(500): jobs.put(n)
        for _ in threads: jobs.put(None)
        for t in threads: t.join()
        print(sum(results), len(results))
    """
    assert guest.python(code) == f"{sum(n * n for n in range(500))} 500\n"


def test_python_processes(guest: Guest) -> None:
    code = """
        import multiprocessing, os, signal, subprocess, sys
        with multiprocessing.get_context("fork").Pool(3) as pool:
            print(pool.map(abs, range(-5, 0)))
        done = subprocess.run(["/usr/bin/python3", "-c", "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(5)"],
                              input="piped", capture_output=True, text=True)
        print(done.stdout, done.returncode)
        child = subprocess.Popen(["/bin/sleep", "10"]); child.terminate(); print(child.wait())
        signal.signal(signal.SIGALRM, lambda *a: print("alarm")); signal.alarm(1); signal.pause()
        try:
            os.kill(os.getpid(), signal.SIGINT); signal.pause()
        except KeyboardInterrupt:
            print("interrupted")
    """
    assert guest.python(code) == "[5, 4, 3, 2, 1]\nPIPED 5\n-15\nalarm\ninterrupted\n"


MULTIPROCESSING = """
    import multiprocessing, multiprocessing.shared_memory, threading
    def square(n): return n * n
    def add(lock, total, inbox, outbox):
        while (n := inbox.get()) is not None:
            with lock: total.value += n
            outbox.put(n * 2)
    def work(method):
        context = multiprocessing.get_context(method)
        with context.Pool(2) as pool:
            print(method, pool.map(square, range(10)), pool.apply(sum, ([1, 2, 3],)))
        if method == "spawn": return
        lock, total = context.Lock(), context.Value("i", 0, lock=False)
        inbox, outbox = context.Queue(), context.Queue()
        workers = [context.Process(target=add, args=(lock, total, inbox, outbox)) for _ in range(2)]
        for w in workers: w.start()
        for n in range(50): inbox.put(n)
        print(sorted(outbox.get() for _ in range(50)))
        for _ in workers: inbox.put(None)
        for w in workers: w.join()
        print(total.value, [w.exitcode for w in workers])
        shared = multiprocessing.shared_memory.SharedMemory(create=True, size=64)
        child = context.Process(target=shared.buf.__setitem__, args=(3, 7))
        child.start(); child.join(); print(shared.buf[3]); shared.close(); shared.unlink()
        one, two = context.Pipe(); threading.Thread(target=two.send, args=("text",)).start(); print(one.recv())
    if __name__ == "__main__":
        for method in ("fork", "spawn"): work(method)
"""


def test_python_multiprocessing_equals_native(guest: Guest, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(MULTIPROCESSING))
    native = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert guest("python3", script) == native.stdout


# ---- others


def test_sqlite(guest: Guest, tmp_path: Path) -> None:
    base = tmp_path / "base.db"
    statements = """
        CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, value REAL);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO t SELECT i, 'row ' || i, i * 0.5 FROM n;
        CREATE INDEX names ON t(name);
        SELECT count(*), sum(value), max(name) FROM t; SELECT id FROM t WHERE name = 'row 4321';
    """
    assert guest("sqlite3", base, statements) == "5000|6251250.0|row 999\n4321\n"
    with sqlite3.connect(base) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (5000,)


def test_perl(guest: Guest) -> None:
    code = r'''my %h; $h{$_ % 7} += $_ for 1..1000; print join(",", map { "$_=$h{$_}" } sort keys %h), "\n";
              printf "%.10f %s\n", atan2(1,1)*4, "abc" =~ /b(.)/ ? $1 : "";'''
    found = guest("perl", "-e", code)
    sums = {k: sum(n for n in range(1, 1001) if n % 7 == k) for k in range(7)}
    assert found == ",".join(f"{k}={v}" for k, v in sums.items()) + "\n3.1415926536 c\n"


def ruff_as_native(guest: Guest, folder: Path, files: dict[str, str], commands: list[list[str]]) -> list[str]:
    """Ruff over a tree: what each command wrote.  It says and leaves behind what the host's own does, if of the same version."""
    tree, native = folder / "tree", folder / "native"
    for place in (tree, native):
        for name, text in files.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
    tool = guest.wheel("ruff", MUSL if guest.arch == "aarch64" else PLATFORMS)  # static on AArch64
    ours = [sys.executable, "-m", "ruff"]
    same = guest.run(tool, "--version").stdout == subprocess.run([*ours, "--version"], capture_output=True, text=True).stdout
    out = []
    for words in commands:
        words = [*words, "--isolated", "--no-cache", "."]
        done = guest.run(tool, *words, cwd=tree, timeout=1500)
        wanted = subprocess.run([*ours, *words], cwd=native, capture_output=True, text=True)
        assert not same or (done.returncode, done.stdout) == (wanted.returncode, wanted.stdout)
        out.append(done.stdout)
    assert not same or all((tree / name).read_text() == (native / name).read_text() for name in files)
    return out


def test_ruff(guest: Guest, tmp_path: Path) -> None:
    """A Rust program with a thread for each processor."""
    files = {f"m{n}.py": f"import os, sys\ndef f( x ):\n  return x+{n}\n" for n in range(40)}
    checks = [["check", "--output-format", "concise"], ["format"], ["check", "--select", "ALL", "--statistics"]]
    concise, _, _ = ruff_as_native(guest, tmp_path, files, checks)
    assert concise.count("F401") == 80
    assert (tmp_path / "tree/m7.py").read_text() == "import os, sys\n\n\ndef f(x):\n    return x + 7\n"


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_ruff_on_two_thousand_files(guest: Guest, tmp_path: Path) -> None:
    body = """\
        import os, sys
        def f{0}( x, y ):
          if x == None: return y+{0}
          return [a for a in range(x) if a%2==0]
        """
    files = {f"p{n % 40}/m{n}.py": textwrap.dedent(body).format(n) * (1 + n % 5) for n in range(2000)}
    checks = [["check", "--output-format", "concise"], ["format"], ["format"]]
    concise, first, second = ruff_as_native(guest, tmp_path, files, checks)
    assert concise.count("F401") == 4000
    assert (first, second) == ("2000 files reformatted\n", "2000 files left unchanged\n")


def test_ninja(guest: Guest, tmp_path: Path) -> None:
    rules = ["rule copy\n  command = cat $in > $out && echo $out >> log\n"]
    (tmp_path / "o0").write_text("seed\n")
    rules += [f"build o{n}: copy o{(n - 1) // 2}\n" for n in range(1, 201)]
    (tmp_path / "build.ninja").write_text("".join(rules))
    done = guest.run(guest.wheel("ninja"), "-j4", cwd=tmp_path)
    assert done.returncode == 0 and "[200/200]" in done.stdout
    assert all((tmp_path / f"o{n}").read_text() == "seed\n" for n in range(201))
    assert len((tmp_path / "log").read_text().splitlines()) == 200
    again = guest.run(guest.wheel("ninja"), cwd=tmp_path)
    assert again.stdout == "ninja: no work to do.\n"
