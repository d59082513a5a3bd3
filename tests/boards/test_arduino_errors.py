"""What a person may do wrong with a microcontroller board, and what is said then."""

import struct
from pathlib import Path

import pytest

import tinamou
from avr_guests import Running, bin_of, hex_of, needs_gcc, program
from tinamou.api.errors import MachineError
from tinamou.control.texts import machine_help
from tinamou.machine.props import PropertyError
from tinamou.tools import system

NOTHING = "int main(void) { for (;;); }"


def refused(path, on="uno", options=None):
    with pytest.raises(PropertyError) as e:
        Running(str(path), on, options=options)
    return f"{e.value}\n{e.value.hint}"


def test_file_that_is_not_there():
    assert "Unable to find firmware image '/no/such.hex'" in refused("/no/such.hex")


def test_raw_program_too_large(tmp_path):
    path = tmp_path / "big.bin"
    path.write_bytes(b"\0" * 32769)
    text = refused(path)
    assert str(path) in text and "it has 32769 bytes, but the flash of ATmega328P has 32768 bytes" in text
    path.write_bytes(b"\x01" * 32768)
    r = Running(str(path))
    assert r.m.memory.read(32767, 1) == 1
    r.close()


def test_hex_outside_flash_and_broken_hex(tmp_path):
    path = tmp_path / "p.hex"
    path.write_text(":020000040001F9\n:0100000055AA\n:00000001FF\n")
    assert "it reaches address 0x10000, but the flash of ATmega328P has 32768 bytes (0 to 0x7fff)" in refused(path)
    path.write_text(":0100000055AA\n:0100010055AA\n:00000001FF\n")
    assert "the checksum of line 2 is wrong" in refused(path)
    path.write_text(":0100000055AA\n:zz\n")
    assert "line 2 is no Intel HEX record" in refused(path)
    path.write_text(":0100000055AA\n")
    assert "end record is missing" in refused(path)


@needs_gcc
def test_program_for_another_part():
    elf = program(NOTHING, "mega2560")
    text = refused(elf)
    assert "Current machine: Arduino UNO (ATmega328P) with 'avr5' CPU" in text and f"ELF image '{elf}' is for 'avr6' CPU" in text
    assert "-mmcu=atmega328p" in text


def test_program_for_another_architecture(tmp_path):
    path = tmp_path / "p.elf"
    header = b"\x7fELF\1\1\1" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 2, 243, 1, 0, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    path.write_bytes(header + struct.pack("<IIIIIIII", 1, 84, 0, 0, 4, 4, 5, 4) + b"\0\0\0\0")
    assert "it is for riscv, not for avr" in refused(path)


def told(capsys, *words):
    """What `tinamou-system-avr` says and does not do."""
    assert system.main(["avr", *map(str, words), "-display", "none", "-serial", "null", "-monitor", "none"]) == 1
    out, err = capsys.readouterr()
    assert out == "" and "Traceback" not in err
    return err


@needs_gcc
def test_command_line(capsys, tmp_path):
    elf, other = program(NOTHING), program(NOTHING, "mega2560")
    said = "tinamou-system-avr: Current machine: Arduino UNO (ATmega328P) with 'avr5' CPU\n"
    said += f"tinamou-system-avr: ELF image '{other}' is for 'avr6' CPU\nbuild it with avr-gcc -mmcu=atmega328p\n"
    assert told(capsys, "-M", "uno", "-bios", other) == said
    wrong, cut, long = "tinamou-system-avr: Unable to load firmware image", tmp_path / "cut", tmp_path / "long.bin"
    content = Path(elf).read_bytes()
    for size in (10, 40, 51, 60, 100, len(content) // 2, len(content) - 1):
        cut.write_bytes(content[:size])
        assert told(capsys, "-M", "uno", "-bios", cut).startswith(f"{wrong} '{cut}': the ELF "), size
    lines = Path(hex_of(elf)).read_bytes()
    for size in (12, 40, len(lines) - 15):
        cut.write_bytes(lines[:size])
        assert f"{wrong} '{cut}': " in told(capsys, "-M", "uno", "-bios", cut), size
    cut.write_bytes(b"")
    assert told(capsys, "-M", "uno", "-bios", cut) == f"{wrong} '{cut}': it is empty\n"
    long.write_bytes(bytes(32769))
    assert "it has 32769 bytes, but the flash of ATmega328P has 32768 bytes" in told(capsys, "-M", "uno", "-bios", long)
    assert f"Unable to find firmware image '{tmp_path}/none'\nNo such file" in told(capsys, "-M", "uno", "-bios", tmp_path / "none")
    assert "\nIs a directory" in told(capsys, "-M", "uno", "-bios", tmp_path)
    for name, near in (("unoo", "uno"), ("mega256", "mega2560"), ("arduino-un", "arduino-uno")):
        text = told(capsys, "-M", name)
        assert text.startswith("tinamou-system-avr: unsupported machine type\nUse -machine help to list supported machines\nnearest: ")
        assert near in text.splitlines()[-1].replace(",", "").split()


@needs_gcc
def test_eeprom_files(tmp_path):
    elf, file = program(NOTHING), tmp_path / "eeprom"
    file.write_bytes(b"x" * 100)
    assert f"EEPROM file '{file}' has 100 bytes, the EEPROM of this part has 1024" in refused(elf, options={"eeprom": str(file)})
    assert file.read_bytes() == b"x" * 100
    assert "Could not open EEPROM file" in refused(elf, options={"eeprom": str(tmp_path / "no" / "dir")})


@needs_gcc
def test_unknown_pin():
    r = Running(program(NOTHING))
    with pytest.raises(PropertyError, match="no pin 'D31' on machine 'arduino-uno'") as e:
        r.pins["D31"]
    assert "D13" in e.value.hint or "D3" in e.value.hint
    assert r.pins["d13"] is r.pins["PB5"] is r.pins["LED"]
    r.close()


@needs_gcc
def test_short_circuit_names_both_sides():
    r = Running(program("#include <avr/io.h>\nint main(void) { DDRB = 0x20; PORTB = 0x20; for (;;); }"), log=False)
    r.run(0.001)
    r.pins["D13"].drive(False)
    r.pins["D13"].drive(False)
    assert [str(s) for s in r.pins.shorts] == ["short circuit on D13: PB5 (5 V) against outside (0 V)"]
    assert r.logged == ["short circuit on D13: PB5 (5 V) against outside (0 V)"]
    r.pins["D13"].release()
    assert r.pins["D13"].level
    r.close()


@needs_gcc
def test_short_circuit_of_a_pulsing_output():
    """PWM against a level: at some time they differ, whichever comes first."""
    r = Running(program("#include <avr/io.h>\nint main(void) { DDRB = 2; OCR1A = 100; TCCR1A = 0x81; TCCR1B = 9; for (;;); }"), log=False)
    r.run(0.001)
    for high in (False, True):
        r.pins["D9"].drive(high)
        r.pins["D9"].release()
    assert [(s.one[:3], s.other[:7]) for s in r.pins.shorts] == [("PB1", "outside")] * 2
    r.close()


@needs_gcc
def test_two_outputs_wired_together():
    r = Running(program("#include <avr/io.h>\nint main(void) { DDRD = 0x0C; PORTD = 0x04; for (;;); }"))
    r.pins["D2"].connect(r.pins["D3"])
    r.run(0.001)
    assert len(r.pins.shorts) == 1 and {"PD2", "PD3"} == {r.pins.shorts[0].one[:3], r.pins.shorts[0].other[:3]}
    r.close()


@needs_gcc
def test_hex_and_elf_give_the_same_flash():
    elf = program(NOTHING)
    a, b = Running(elf), Running(hex_of(elf))
    assert bytes(a.m.rams["atmega328p.flash"].buffer) == bytes(b.m.rams["atmega328p.flash"].buffer)
    a.close()
    b.close()


@needs_gcc
def test_programs_from_a_drive(tmp_path):
    elf = program("#include <avr/io.h>\nint main(void) { DDRB = 32; PORTB = 32; for (;;); }")
    for n, path in enumerate((elf, hex_of(elf), bin_of(elf))):
        with tinamou.Machine("uno", drives=[{"file": path, "if": "mtd", "format": "raw", "readonly": "on"}]) as m:
            m.run(seconds=0.001)
            assert m.pins["D13"].level, n


def test_another_cpu_than_the_board_has():
    with pytest.raises(MachineError, match="Invalid CPU model 'avr6-avr-cpu': this board has an ATmega328P"):
        tinamou.Machine("uno", cpu="avr6-avr-cpu")
    with tinamou.Machine("uno", cpu="avr5-avr-cpu", memory="128M") as m:
        assert m.machine.cpus[0].model == "ATmega328P"


def test_names_in_help():
    text = machine_help("avr")
    assert "uno                  Arduino UNO (ATmega328P) (alias of arduino-uno)\n" in text
