"""Clock, power, reset, watchdog, EEPROM and self-programming of AVR microcontrollers."""

import pytest

from avr_harness import Bench
from tinamou.machine.props import PropertyError


@pytest.fixture
def b():
    return Bench()


def test_clock_prescaler_is_a_timed_sequence(b):
    b["CLKPR"] = 3
    assert b["CLKPR"] == 0 and b.cpu.clock.hz == 16_000_000
    b["CLKPR"] = 0x80
    b.pass_(5)
    b["CLKPR"] = 3
    assert b.cpu.clock.hz == 16_000_000
    b["CLKPR"] = 0x80
    b["CLKPR"] = 3
    assert b["CLKPR"] == 3 and b.cpu.clock.hz == 2_000_000 == b.device("timer0").clock.hz


def test_timers_follow_the_clock(b):
    b["TCCR0B"] = 1
    b.pass_(100)
    b["CLKPR"] = 0x80
    b["CLKPR"] = 1
    assert b["TCNT0"] == 100
    b.m.time.advance(1250)              # ten cycles of 125 ns
    assert b["TCNT0"] == 110


@pytest.mark.parametrize("mode,timer,adc,crystal", [(0, 1, 1, 1), (1, 0, 1, 1), (2, 0, 0, 0), (3, 0, 0, 1), (6, 0, 0, 0), (7, 0, 0, 1)])
def test_sleep_modes_stop_clocks(b, mode, timer, adc, crystal):
    assert not b.cpu.on_sleep()
    b["SMCR"] = mode << 1 | 1
    assert b.cpu.on_sleep()
    s = b.device("system")
    assert (bool(s.clock.hz), bool(s.adc_clock.hz), bool(s.crystal.hz)) == (bool(timer), bool(adc), bool(crystal))
    b["PCICR"], b["PCMSK0"] = 1, 1
    b.pins["D8"].drive(True)
    assert b.pending()
    b.cpu.on_wake()
    start = 0 if mode < 2 else 16_384 if mode < 4 else 6
    assert b.cpu.stalls == ([start] if start else [])
    if start:
        b.pass_(start - 1)
        assert s.clock.hz == 0
        b.pass_(1)
    assert s.clock.hz == s.adc_clock.hz == 16_000_000 and s.crystal.hz == 32_768


def test_reset_flags(b):
    assert b["MCUSR"] == 1
    b["MCUSR"] = 0
    b.pins["RESET"].drive(False)
    assert b.cpu.restarts == ["pin"]
    b.m.reset("warm")
    assert b["MCUSR"] == 2
    b.device("system").supply(4.5)
    assert b.cpu.restarts == ["pin"]
    b.device("system").supply(2.5)
    b.m.reset("warm")
    assert b["MCUSR"] == 6 and b.cpu.restarts == ["pin", "brown-out"]
    assert b.cpu.holds == {"pin", "brown-out"}
    b.pins["RESET"].release()
    b.device("system").supply(5.0)
    assert not b.cpu.holds


def test_power_reduction(b):
    b["UCSR0B"] = 8
    b["PRR0"] = 0xFF
    b["UDR0"] = 1
    assert b.device("usart0").tx_shift < 0
    b["PRR0"] = 0
    b["UDR0"] = 1
    assert b.device("usart0").tx_shift == 1


@pytest.mark.parametrize("fuses,table", [("", 0x3F00), ("ff:d9:fd", 0x3800)])
def test_interrupt_vectors_move(fuses, table):
    b = Bench("uno", options={"fuses": fuses})
    b["MCUCR"] = 2
    assert b.cpu.tables == []
    b["MCUCR"] = 1
    b["MCUCR"] = 2
    assert b.cpu.tables == [table] and b["MCUCR"] & 2 and b.cpu.closed
    b.pass_(2)
    assert not b.cpu.closed
    b["MCUCR"] = 1
    b.pass_(4)
    assert b.cpu.closed
    b.pass_(1)
    b["MCUCR"] = 0
    assert not b.cpu.closed and b["MCUCR"] & 2


# --- watchdog: 2048 ticks of 128 kHz are 16 ms


def test_watchdog_resets(b):
    b["WDTCSR"] = 0x08
    b.pass_(255_999)
    assert b.cpu.restarts == []
    b.cpu.on_watchdog()
    b.pass_(255_999)
    assert b.cpu.restarts == []
    b.pass_(1)
    assert b.cpu.restarts == ["watchdog"]
    b.m.reset("warm")
    assert b["MCUSR"] & 8 and b["WDTCSR"] == 8          # WDRF keeps it on
    b["WDTCSR"] = 0x18
    b["WDTCSR"] = 0
    assert b["WDTCSR"] == 8
    b["MCUSR"] = 0
    b["WDTCSR"] = 0x18
    b["WDTCSR"] = 0
    assert b["WDTCSR"] == 0


def test_watchdog_changes_are_timed(b):
    b["WDTCSR"] = 0x08
    b["WDTCSR"] = 0x00
    assert b["WDTCSR"] == 8
    b["WDTCSR"] = 0x0F
    assert b["WDTCSR"] == 8
    b["WDTCSR"] = 0x18
    b.pass_(5)
    b["WDTCSR"] = 0x0F
    assert b["WDTCSR"] == 8
    b["WDTCSR"] = 0x18
    b["WDTCSR"] = 0x0F
    assert b["WDTCSR"] == 0x0F
    b.pass_(256_000 << 7)
    assert b.cpu.restarts == ["watchdog"]


def test_watchdog_interrupt_then_reset(b):
    b["WDTCSR"] = 0x18
    b["WDTCSR"] = 0x48
    b.pass_(256_000)
    assert b.pending() == [7] and b.cpu.restarts == []
    b.enter(7)
    assert b["WDTCSR"] == 0x08
    b.pass_(256_000)
    assert b.cpu.restarts == ["watchdog"]


def test_watchdog_interrupt_again_and_again(b):
    b["WDTCSR"] = 0x40
    for _ in range(3):
        b.pass_(256_000)
        b.enter(7)
    assert b.cpu.restarts == []


# --- EEPROM


def write(b, address, value, mode=0):
    b["EEAR"], b["EEDR"] = address, value
    b["EECR"] = mode << 4 | 4
    b["EECR"] = mode << 4 | 2 | 4


def read(b, address):
    b["EEAR"] = address
    b["EECR"] = 1
    return b["EEDR"]


def test_eeprom(b):
    assert read(b, 5) == 0xFF and b.cpu.stalls == [4]
    write(b, 5, 0x5A)
    assert b["EECR"] & 2 and b.cpu.stalls == [4, 2]
    b.pass_(3_400_000 * 16 // 1000 - 1)
    assert b["EECR"] & 2
    b.pass_(1)
    assert not b["EECR"] & 2 and read(b, 5) == 0x5A
    write(b, 5, 0x0F, mode=2)                           # write only: bits can only go to 0
    b.pass_(28_800)
    assert read(b, 5) == 0x0A
    write(b, 5, 0, mode=1)                              # erase only
    b.pass_(28_800)
    assert read(b, 5) == 0xFF


def test_eeprom_needs_the_sequence(b):
    b["EEAR"], b["EEDR"] = 1, 1
    b["EECR"] = 2
    assert not b["EECR"] & 2
    b["EECR"] = 6                                       # both at once do not count either
    assert not b["EECR"] & 2
    b.pass_(10)
    b["EECR"] = 4
    b.pass_(5)
    b["EECR"] = 2
    assert not b["EECR"] & 2


def test_eeprom_ready_interrupt(b):
    b["EECR"] = 8
    assert b.pending() == [23]
    write(b, 1, 1)
    b["EECR"] = 8
    assert b.pending() == []
    b.pass_(60_000)
    assert b.pending() == [23]


def test_eeprom_file(tmp_path):
    file = tmp_path / "e"
    b = Bench("mega2560", options={"eeprom": str(file)})
    assert file.read_bytes() == b"\xff" * 4096
    write(b, 4095, 7)
    b.pass_(60_000)
    assert file.read_bytes() == b"\xff" * 4095 + b"\x07"
    assert read(Bench("mega2560", options={"eeprom": str(file)}), 4095) == 7


def test_eeprom_file_that_goes_away(tmp_path):
    b = Bench(options={"eeprom": str(tmp_path / "e")})
    (tmp_path / "e").unlink()
    for address, value in ((3, 0x55), (4, 0x66)):
        b["EEARL"], b["EEDR"] = address, value
        b["EECR"] = 4
        b["EECR"] = 2
        b.pass_(60_000)
    assert b.device("eeprom").content[3:5] == b"\x55\x66"
    assert b.logged == [f"tinamou: Could not write EEPROM file '{tmp_path}/e': No such file or directory; it keeps its content from now on"]


# --- self-programming


LOADER = 0x7F00     # in the boot loader section of an Uno as it is sold


def spm(b, command, z=0, word=0, pc=LOADER):
    b["SPMCSR"] = command
    b.cpu.on_spm(z, word, pc)


def test_page_write(b):
    flash = b.m.rams["atmega328p.flash"].buffer
    for n in range(0, 128, 2):
        spm(b, 1, 0x1000 + n, n | n << 8)
    spm(b, 3, 0x1000)
    assert b["SPMCSR"] & 0x41 == 0x41                   # busy in the read-while-write section
    b.pass_(4 * 16_000)
    assert b["SPMCSR"] & 0x41 == 0x40
    spm(b, 5, 0x1000)
    b.pass_(4 * 16_000)
    assert flash[0x1000:0x1004] == b"\x00\x00\x02\x02" and flash[0x107E] == 126 and flash[0x1080] == 0xFF
    spm(b, 0x11)
    assert not b["SPMCSR"]
    spm(b, 1, 0, 0x1234)
    spm(b, 5, 0x1000)                                   # without erasing: and
    assert flash[0x1000:0x1002] == b"\x00\x00"


def test_programming_waits_in_the_boot_section():
    b = Bench("uno", options={"lock": "ff"})
    spm(b, 3, 0x7F80)
    assert b.cpu.stalls == [64_000] and b["SPMCSR"] == 0


def test_only_the_boot_loader_programs(b):
    flash = b.m.rams["atmega328p.flash"].buffer
    before = bytes(flash)
    spm(b, 3, 0x1000, pc=0x7DFE)
    assert b["SPMCSR"] == 3 and bytes(flash) == before
    assert b.logged == ["SPM at 0x7dfe: it does nothing below the boot loader section, which begins at 0x7e00"]
    b.pass_(5)
    spm(b, 3, 0x7F80)
    assert b["SPMCSR"] == 0 and bytes(flash) == before
    assert b.logged[1:] == ["SPM: the lock bits (0xcf) protect the page of 0x7f80"]


@pytest.mark.parametrize("lock,application,boot", [("ff", 1, 1), ("fb", 0, 1), ("f3", 0, 1), ("f7", 1, 1), ("ef", 1, 0), ("cf", 1, 0),
                                                   ("df", 1, 1), ("c3", 0, 0)])
def test_lock_bits(lock, application, boot):
    """Tables of the boot lock bits: SPM is refused where BLB01 or BLB11 is programmed, LPM across where BLB02 or BLB12 is."""
    b = Bench("uno", options={"lock": lock})
    flash = b.m.rams["atmega328p.flash"].buffer
    for z, allowed in ((0x1000, application), (0x7F80, boot)):
        flash[z] = 0
        spm(b, 3, z)
        b.pass_(5 * 16_000)
        spm(b, 0x11)
        assert flash[z] == (0xFF if allowed else 0), hex(z)
    bits = int(lock, 16)
    assert b.cpu.protected == (0x7E00, {"application": not bits & 8, "boot_section": not bits & 0x20})


@pytest.mark.parametrize("on,fuses,hz,boot,watchdog,brown_out", [
    ("uno", "", 16_000_000, 0x7E00, 0, 2700), ("uno", "e2:d9:ff", 8_000_000, 0x7000, 0, 0),
    ("uno", "62:df:fe", 1_000_000, 0x7E00, 0, 1800), ("uno", "63:cb:fc", 16_000, 0x7800, 1, 4300),
    ("2009", "", 16_000_000, 0x3800, 0, 2700), ("2009", "62:dc:fb", 1_000_000, 0x3C00, 0, 4300),
    ("mega", "", 16_000_000, 0x1F000, 0, 2700), ("mega2560", "", 16_000_000, 0x3E000, 0, 2700),
    ("mega2560", "42:8f:ff", 1_000_000, 0x3FC00, 1, 0)])
def test_fuses(on, fuses, hz, boot, watchdog, brown_out):
    b = Bench(on, options={"fuses": fuses} if fuses else {})
    s = b.device("system")
    assert (b.cpu.clock.hz, s.boot_start, s.brown_out) == (hz, boot, brown_out)
    assert bool(b["WDTCSR"] & 8) == bool(watchdog)
    if fuses:
        b["SPMCSR"] = 9
        assert b.cpu.on_lpm(0) == int(fuses[:2], 16)


def test_reset_pin_as_a_port(b):
    b.pins["RESET"].drive(False)
    assert b.cpu.restarts == ["pin"]
    b = Bench("uno", options={"fuses": "ff:5e:fd"})
    b.pins["RESET"].drive(False)
    assert b.cpu.restarts == []


@pytest.mark.parametrize("option,value", [("fuses", "ff:de"), ("fuses", "ff:de:1fd"), ("fuses", "a:b:x"), ("lock", "100"), ("lock", "-1")])
def test_wrong_fuses(option, value):
    with pytest.raises(PropertyError, match=f"Property '{option}': '{value}' is not") as e:
        Bench("uno", options={option: value})
    assert e.value.hint.endswith({"fuses": "as in fuses=ff:de:fd", "lock": "as in lock=cf"}[option])


def test_sequence_is_timed(b):
    b["SPMCSR"] = 3
    b.pass_(5)
    b.cpu.on_spm(0x1000, 0, LOADER)
    assert b["SPMCSR"] == 0


def test_signature_fuses_and_lock_bits(b):
    def ask(command, z):
        b["SPMCSR"] = command
        return b.cpu.on_lpm(z)
    assert [ask(0x21, z) for z in (0, 2, 4)] == [0x1E, 0x95, 0x0F] and b.cpu.on_lpm is None
    assert [ask(0x09, z) for z in range(4)] == [0xFF, 0xCF, 0xFD, 0xDE]
    spm(b, 9, 0, 0xEF)
    assert ask(0x09, 1) == 0xCF
    spm(b, 9, 0, 0xFB)
    assert ask(0x09, 1) == 0xCB
    b["SPMCSR"] = 0x21
    b.pass_(6)
    assert b.cpu.on_lpm is None


@pytest.mark.parametrize("mode", range(8))
def test_wake_up_sources(mode):
    """The table of wake-up sources in the chapter on power management, for the ATmega328P: who asks for the CPU in each sleep mode."""
    if mode in (4, 5):
        return                  # reserved
    b = Bench()
    b["EIMSK"], b["EICRA"] = 3, 4 << 1                                      # INT0 by level, INT1 by falling edge
    b["PCICR"], b["PCMSK0"] = 1, 1
    b["TCCR0B"], b["TIMSK0"] = 1, 1
    b["ASSR"], b["TCCR2B"] = 0x20, 1
    b["TIMSK2"] = 1
    b["WDTCSR"] = 0x40
    b["EECR"] = 8
    b["SPMCSR"] = 0
    b["ADMUX"], b["ADCSRA"] = 0x40, 0x8F
    b["TWAR"], b["TWCR"] = 0x20, 0x45
    b["ACSR"] = 8
    for pin, volts in (("D2", 5), ("D3", 5), ("D8", 0), ("D6", 1), ("D7", 2)):
        b.pins[pin].voltage = volts
    b.pass_(2000)
    b["EECR"] = 4 | 8
    b["EECR"] = 2 | 8                                                       # a write of 3.4 ms
    b["PCIFR"], b["EIFR"], b["TIFR0"], b["TIFR2"], b["ACSR"] = 7, 3, 7, 7, 0x18
    b["TCNT0"] = b["TCNT2"] = 0
    b.m.time.advance(100_000)
    b["TIFR0"] = 7
    assert b.pending() == []
    b["SMCR"] = mode << 1 | 1
    assert b.cpu.on_sleep()
    b.pins["D6"].voltage = 3
    b.pins["D8"].voltage = 5
    b.pins["D3"].voltage = 0
    b.device("twi").master_write(0x10, b"x")
    b.m.time.advance(17_000_000)
    woken = set(b.pending()) - {4, 7, 25}                                   # pin change, watchdog, address match: in all modes
    assert set(b.pending()) >= {4, 7, 25}
    clocked = {3, 17, 24} if mode == 0 else set()                           # edges, timer 0, comparator
    assert woken == clocked | ({10} if mode in (0, 1, 3, 7) else set()) | ({23} if mode < 2 else set()) | ({22} if mode == 1 else set())
    b.pins["D2"].voltage = 0
    assert 2 in b.pending()                                                 # a level needs no clock
