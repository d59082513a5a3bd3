"""tinamou run: microcontroller boards in the terminal."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET

import pytest

from avr_guests import needs_core, needs_gcc, program, sketch
from tinamou.tools.run import plot

pytestmark = needs_gcc


def run(*words, stdin=b"", code=0, stdout=subprocess.PIPE, room=None):
    """`room` is the size that files may have."""
    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))

    done = subprocess.run([sys.executable, "-m", "tinamou.tools.main", "run", *map(str, words)], input=stdin, stdout=stdout,
                          stderr=subprocess.PIPE, timeout=120, env={**os.environ, "COLUMNS": "100"}, preexec_fn=limit if room else None)
    assert done.returncode == code, done.stderr.decode()
    return (done.stdout or b"").decode(), done.stderr.decode()


@needs_core
def test_serial_port_traces_and_pins(tmp_path):
    vcd, page = tmp_path / "o.vcd", tmp_path / "o.html"
    out, _ = run(sketch("echo.ino"), "--until", "2: two", "--vcd", vcd, "--page", page, "--trace", "D1,usart0", "--pins",
                 stdin=b"one\ntwo\n")
    assert out.startswith("ready\r\n1: one\r\n2: two") and re.search(r"^D13 +PB5 ", out, re.MULTILINE)
    names = re.findall(r"\$var (?:wire|reg) (\d+) \S+ (\S+)", vcd.read_text())
    assert names == [("1", "D1"), ("9", "tx"), ("9", "rx")]
    assert "<svg" in page.read_text() and "1: one" in page.read_text()


def test_picture_and_voltages(tmp_path):
    picture = tmp_path / "o.svg"
    elf = program("#include <avr/io.h>\nint main(void) { DDRB = 32; for (;;) PORTB = PIND & 4 ? 32 : 0; }")
    out, _ = run(elf, "--seconds", "0.01", "--set", "D2=high", "--page", picture, "--trace", "D13", "--pins")
    assert re.search(r"D13 +PB5 +5.00 V  output high", out) and re.search(r"D2 +PD2 +5.00 V  driven high", out)
    assert len(list(ET.parse(picture).getroot().iter("{http://www.w3.org/2000/svg}path"))) == 1


def test_eeprom_and_parts(tmp_path):
    elf = program("#include <avr/eeprom.h>\nint main(void) { eeprom_write_byte((uint8_t *)3, 9); for (;;); }")
    run(elf, "--seconds", "0.02", "--eeprom", tmp_path / "e", "--attach", "lm75,address=0x49", "--attach", "servo,signal=D9")
    assert (tmp_path / "e").read_bytes()[:5] == b"\xff\xff\xff\x09\xff"


@needs_core
def test_live_view():
    out, _ = run(sketch("fade.ino"), "--seconds", "0.03", "--live")
    assert "arduino-uno" in out and "D13" in out and "\x1b[" in out


def test_plot():
    rows = plot(["temp: 1", "2", "3.5, 7", "text", "4 8"])
    assert rows[0].endswith("4 (1 to 4)") and rows[0].startswith("▁") and rows[1].endswith("8 (7 to 8)")


def test_mistakes(tmp_path):
    elf = program("int main(void) { for (;;); }")
    for words, told in (([elf, "--board", "unoo"], "no board 'unoo'\nnearest: uno"),
                        ([elf, "--set", "D99=1"], "no pin 'D99' on machine 'arduino-uno'\nnearest: D9"),
                        ([elf, "--set", "D9=x"], "--set D9=x: 'x' is no voltage\nvolts"),
                        ([elf, "--attach", "lm76"], "'lm76' is not a valid device model name\nnearest: lm75"),
                        ([elf, "--vcd", tmp_path], f"Could not open '{tmp_path}': Is a directory"),
                        ([elf, "--page", tmp_path / "no" / "p.svg"], f"Could not open '{tmp_path}/no/p.svg': No such file"),
                        ([program("int main(void) { for (;;); }", "mega2560")], "' is for 'avr6' CPU\nbuild it with"),
                        ([elf, "--vcd", tmp_path / "v", "--trace", "D77"], "no pin or bus 'D77' to trace\nnearest: D7"),
                        ([elf, "--page", tmp_path / "p.gif"], f"--page {tmp_path}/p.gif: a page or a picture\na name that ends in"),
                        (["/no/such.hex"], "Unable to find firmware image '/no/such.hex'")):
        out, err = run(*words, "--seconds", "0.01", code=1)
        assert out == "" and err.startswith("tinamou run: ") and told in err and "Traceback" not in err
    for wrong in ("-1", "0", "nan", "inf", "1h"):
        assert f"'{wrong}'" in run(elf, "--seconds", wrong, code=2)[1]
    assert "never said 'x'" in run(elf, "--seconds", "0.01", "--until", "x", code=1)[1]
    assert "mega2560" in run("x", "--board", "help")[0]


def test_no_room(tmp_path):
    """A dump ends where the room does, a page is not left half written; one message each."""
    elf = program("#include <avr/io.h>\nint main(void) { UBRR0 = 0; UCSR0B = 8; DDRB = 32; for (;;) { PINB = 32; UDR0 = 'x'; } }")
    vcd, page = tmp_path / "o.vcd", tmp_path / "o.html"
    out, err = run(elf, "--seconds", "0.01", "--vcd", vcd, room=50_000, code=1)
    assert err == f"tinamou: Could not write '{vcd}': File too large\n" and vcd.stat().st_size == 50_000
    assert len(out) == 999  # the machine ran on
    err = run(elf, "--seconds", "0.01", "--page", page, room=20_000, code=1)[1]
    assert err == f"tinamou run: Could not write '{page}': File too large\n" and not page.exists()
    with open("/dev/full", "wb") as full:
        assert run(elf, "--seconds", "0.01", stdout=full, code=1)[1] == "tinamou run: No space left on device\n"
    text = run(elf, "--seconds", "0.01", "--eeprom", tmp_path / "e", room=100, code=1)[1]
    assert text == f"tinamou run: Could not open EEPROM file '{tmp_path}/e': File too large\n" and not list(tmp_path.glob("e*"))


@pytest.mark.parametrize("words", [(), ("--live", "--plot"), ("--until", "never")])
def test_ctrl_c(words, tmp_path):
    """While devices are called all the time: the run ends, the dump and the page are whole."""
    elf = program("#include <avr/io.h>\nint main(void) { UCSR0B = 8; DDRB = 32; for (;;) { PINB = 32; UDR0 = 'x'; TIFR1 = 7; } }")
    vcd, page = tmp_path / "o.vcd", tmp_path / "o.html"
    command = [sys.executable, "-m", "tinamou.tools.main", "run", elf, "--vcd", vcd, "--page", page, "--trace", "D13", *words]
    for delay in (0.0, 0.1):
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            assert p.stdout.read(1)
            time.sleep(delay)
            p.send_signal(signal.SIGINT)
            _, err = p.communicate(timeout=100)
        never = "--until" in words
        assert (p.returncode, err) == (int(never), b"tinamou run: the serial port never said 'never'\n" * never)
        assert vcd.read_text().splitlines()[-1].startswith("#") and page.read_text().rstrip().endswith("</html>")


def test_dump_as_a_property_of_the_machine(tmp_path):
    elf = program("#include <avr/io.h>\nint main(void) { DDRB = 32; for (;;) PINB = 32; }")
    words = [sys.executable, "-m", "tinamou.tools.main", "system", "avr", "-machine", f"uno,vcd={tmp_path}/o.vcd,trace=D13",
             "-bios", elf, "-display", "none", "-serial", "none", "-monitor", "stdio"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        out, _ = p.communicate(b"info pins\npin A0 2.5\ninfo pins\npin Q7 1\nquit\n", timeout=120)
    text = out.decode()
    assert p.returncode == 0 and re.search(r"A0 +PC0 +2.50 V  driven", text) and "Error: no pin 'Q7'" in text
    dump = (tmp_path / "o.vcd").read_text()
    assert dump.startswith("$version tinamou") and " D13 $end" in dump
