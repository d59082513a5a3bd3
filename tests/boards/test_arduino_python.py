"""Arduino boards as Python objects: live pins, snapshots, the same moment in every run; sleep, watchdog and reset in real programs."""

import itertools

import pytest

import tinamou
from avr_guests import Running, needs_core, needs_gcc, program, sketch
from tinamou.machine import snapshot

pytestmark = needs_gcc


@needs_core
def test_machine_with_live_pins():
    moments = []
    for _ in range(2):
        with tinamou.Machine("uno", bios=sketch("echo.ino"), devices=["lm75,address=0x49"]) as m:
            assert m.run("ready") == "ready"
            m.serial.write("hi\n")
            assert m.run("1: hi").endswith("1: hi")
            moments.append((m.time, m.machine.cpus[0].cycles))
    assert moments[0] == moments[1]


@needs_core
def test_run_for_an_amount_of_time_and_fork():
    with tinamou.Machine("mega2560", bios=sketch("blink.ino", "mega2560")) as m:
        seen = []
        m.pins["D13"].on_change(seen.append)
        m.run(seconds=0.55)
        assert m.time == pytest.approx(0.55, abs=1e-6) and seen == [True, False, True, False, True, False]
        saved = m.snapshot()
        m.run(seconds=0.2)
        assert len(seen) == 8
        m.restore(saved)
        assert m.time == pytest.approx(0.55, abs=1e-6) and len(seen) == 8
        m.run(seconds=0.2)
        assert len(seen) == 10
        saved.close()


@needs_core
@pytest.mark.parametrize("name,pin", [("blink.ino", "D13"), ("fade.ino", "D9"), ("tone.ino", "D8"), ("wire.ino", "A4"), ("echo.ino", "D1")])
@pytest.mark.parametrize("on", ["uno", "mega2560"])
def test_restored_machines_go_on_the_same(name, pin, on):
    r, edges = Running(sketch(name, on), on), []
    r.run(0.0123)
    saved = snapshot.take(r.m)
    r.pins[pin].on_change(lambda level: edges.append((r.m.cpus[0].cycles, level)))
    r.run(0.21)
    first, said = list(edges), len(r.text)
    edges.clear()
    snapshot.restore(r.m, saved)
    assert edges == []
    r.run(0.21)
    assert edges == first and (r.text[said:] == "" or r.text[said:] in r.text[:said])
    assert first or pin in ("A4", "D1")
    saved.close()
    r.close()


SERIAL = """
#include <avr/io.h>
#include <avr/interrupt.h>
#include <avr/sleep.h>
#include <avr/wdt.h>
#include <avr/boot.h>
#include <avr/pgmspace.h>
#include <util/delay.h>
static void put(char c) { while (!(UCSR0A & 1 << UDRE0)); UDR0 = c; }
static void say(const char *s) { UBRR0 = 0; UCSR0B = 1 << TXEN0; while (*s) put(*s++); while (!(UCSR0A & 1 << TXC0)); UCSR0A |= 1 << TXC0; }
"""


@pytest.mark.parametrize("on", ["uno", "mega2560"])
def test_watchdog_resets_a_program(on):
    r = Running(program(SERIAL + """
        int main(void) {
            uint8_t why = MCUSR;
            MCUSR = 0;
            wdt_disable();
            say(why & 1 << WDRF ? "dog " : why & 1 << EXTRF ? "pin " : "power ");
            wdt_enable(WDTO_30MS);
            for (uint8_t n = 0; n < 5; n++) { _delay_ms(20); wdt_reset(); }
            for (;;);
        }""", on), on)
    r.run(0.3)
    assert r.text == "power dog dog "
    r.pins["RESET"].drive(False)
    r.pins["RESET"].release()
    r.run(0.01)
    assert r.text == "power dog dog pin "
    r.close()


def test_a_low_reset_pin_holds_the_part():
    r = Running(program(SERIAL + """
        int main(void) {
            DDRB = 32;
            say("up ");
            for (;;) { PINB = 32; _delay_us(100); }
        }"""))
    r.run(0.01)
    r.pins["RESET"].drive(False)
    r.run(0.1)
    assert r.text == "up " and not r.pins["D13"].level and r.pins["D13"].describe().endswith("floating")
    saved = r.m.cpus[0].save()
    cycles = r.m.cpus[0].cycles
    r.run(0.1)
    assert r.m.cpus[0].cycles - cycles in (0, 1_600_000)        # time passes, or waits for somebody outside
    r.m.cpus[0].load(saved)
    r.pins["RESET"].release()
    r.until("up up ")
    r.close()


def test_power_down_and_wake_by_watchdog_and_pin():
    r = Running(program(SERIAL + """
        volatile char why;
        ISR(WDT_vect) { why = 'w'; }
        ISR(INT0_vect) { why = 'i'; EIMSK = 0; }
        int main(void) {
            TCCR1B = 1;
            set_sleep_mode(SLEEP_MODE_PWR_DOWN);
            for (uint8_t n = 0; n < 3; n++) {
                MCUSR = 0;
                volatile uint8_t mode = n < 2 ? 1 << WDIE | WDTO_60MS : 0;
                uint8_t value = mode;
                asm volatile("sts 0x60, %0\\n sts 0x60, %1" :: "r"((uint8_t)(1 << WDCE | 1 << WDE)), "r"(value));
                EIMSK = 1;
                sei();
                TCNT1 = 0;
                sleep_mode();
                say(TCNT1 < 20000 ? "asleep " : "awake ");
                char text[] = {why, ' ', 0};
                say(text);
            }
            for (;;);
        }"""))
    r.pins["D2"].drive(True)
    r.run(0.2)
    assert r.text == "asleep w asleep w "
    r.pins["D2"].drive(False)
    r.run(0.01)
    assert r.text == "asleep w asleep w asleep i "
    r.close()


def test_timer_counts_in_idle_mode():
    r = Running(program(SERIAL + """
        ISR(TIMER1_COMPA_vect) {}
        int main(void) {
            OCR1A = 50000; TIMSK1 = 1 << OCIE1A; TCCR1B = 1;
            set_sleep_mode(SLEEP_MODE_IDLE);
            sei();
            sleep_mode();
            uint16_t t = TCNT1;
            say(t > 50000 && t < 50060 ? "idle" : "wrong");
            for (;;);
        }""")).run(0.02)
    assert r.text == "idle"
    r.close()


@pytest.mark.parametrize("on,boot", [("uno", "0x7000"), ("mega2560", "0x3E000")])
def test_self_programming(on, boot):
    r = Running(program(SERIAL + """
        __attribute__((section(".boot"), noinline)) void burn(uint32_t page) {
            eeprom_busy_wait();
            boot_page_erase(page);
            boot_spm_busy_wait();
            for (uint16_t n = 0; n < SPM_PAGESIZE; n += 2) boot_page_fill(page + n, n * 3 + 1);
            boot_page_write(page);
            boot_spm_busy_wait();
            boot_rww_enable();
        }
        int main(void) {
            burn(0x2000);
            uint8_t good = 1;
            for (uint16_t n = 0; n < SPM_PAGESIZE; n += 2) good &= pgm_read_word(0x2000 + n) == n * 3 + 1;
            say(good ? "burnt " : "wrong ");
            say(boot_signature_byte_get(0) == 0x1E && boot_lock_fuse_bits_get(GET_LOCK_BITS) == 0xCF ? "signed" : "wrong");
            for (;;);
        }""", on, f"-Wl,--section-start=.boot={boot}"), on, options={"fuses": "ff:d9:fd"})      # the largest boot section, BOOTRST off
    r.run(0.05)
    assert r.text == "burnt signed"
    r.m.reset("warm")
    assert r.m.memory.read(0x2002, 2) == 7              # a reset does not undo it
    r.close()


LOADER = SERIAL + """
    __attribute__((section(".boot"), naked, used)) void loader(void) {
        asm volatile("eor r1, r1");
        UBRR0 = 0; UCSR0B = 1 << TXEN0; UDR0 = 'L';
        while (!(UCSR0A & 1 << TXC0));
        asm volatile("jmp 0");
    }
    int main(void) { UCSR0A |= 1 << TXC0; say("app"); for (;;); }"""


@pytest.mark.parametrize("on,boot,other", [("uno", "0x7E00", "ff:df:fd"), ("2009", "0x3800", "ff:dd:f9"), ("mega", "0x1F000", "ff:db:f5"),
                                           ("mega2560", "0x3E000", "ff:d9:fd")])
def test_reset_starts_the_boot_loader_if_there_is_one(on, boot, other):
    """Boards are sold with BOOTRST programmed; an empty boot section is passed over at once."""
    with_loader = program(LOADER, on, f"-Wl,--section-start=.boot={boot}")
    for fuses, said in (("", "Lapp"), (other, "app")):
        r = Running(with_loader, on, options={"fuses": fuses}).run(0.01)
        assert r.text == said, fuses
        r.pins["RESET"].drive(False)
        r.pins["RESET"].release()
        r.run(0.01)
        assert r.text == said * 2
        r.close()


def test_fuses_and_lock_bits_of_an_elf_file():
    """What avr-libc's FUSES and LOCKBITS leave in the file is programmed; properties of the machine go before it."""
    source = SERIAL + """
        FUSES = {.low = 0xE2, .high = 0xD9, .extended = 0xFF};
        LOCKBITS = 0xFB;
        int main(void) {
            char text[5] = {0};
            uint8_t e = boot_lock_fuse_bits_get(GET_EXTENDED_FUSE_BITS), l = boot_lock_fuse_bits_get(GET_LOCK_BITS);
            text[0] = boot_lock_fuse_bits_get(GET_LOW_FUSE_BITS) == 0xE2 ? 'l' : '-';
            text[1] = boot_lock_fuse_bits_get(GET_HIGH_FUSE_BITS) == 0xD9 ? 'h' : '-';
            text[2] = (e & 7) == 7 ? 'e' : '-';
            text[3] = l == 0xFB ? 'k' : '-';
            say(text);
            for (;;);
        }"""
    r = Running(program(source)).run(0.01)
    assert r.text == "lhek" and r.m.cpus[0].clock.hz == 8_000_000
    r.close()
    r = Running(program(source), options={"fuses": "ff:de:fd", "lock": "cf"}).run(0.01)
    assert r.text == "----" and r.m.cpus[0].clock.hz == 16_000_000
    r.close()


@pytest.mark.parametrize("on", ["uno", "mega2560"])
def test_a_clock_from_a_watch_crystal(on):
    """Timer 2 wakes the part from power-save once a second, as the data sheet's application of it does; the other timers stand still."""
    r = Running(program(SERIAL + """
        volatile uint8_t seconds;
        ISR(TIMER2_OVF_vect) { seconds++; }
        int main(void) {
            TIMSK2 = 0;
            ASSR = 1 << AS2;
            TCNT2 = 0; TCCR2A = 0; TCCR2B = 5;          // 32768 / 128 / 256
            while (ASSR & (1 << TCN2UB | 1 << TCR2AUB | 1 << TCR2BUB));
            TIFR2 = 7; TIMSK2 = 1 << TOIE2;
            set_sleep_mode(SLEEP_MODE_PWR_SAVE);
            sei();
            TCCR1B = 5;
            for (;;) {
                uint16_t before = TCNT1;
                sleep_mode();
                uint8_t short_ = TCNT1 - before < 3;
                OCR2A = 0;
                while (ASSR & 1 << OCR2AUB);            // not twice in one crystal clock
                char text[] = {'0' + seconds, short_ ? ' ' : '!', 0};
                say(text);
            }
        }""", on), on).run(3.5)
    assert r.text == "1 2 3 "
    r.close()


@pytest.mark.parametrize("on", ["uno", "mega2560"])
def test_no_interrupt_while_the_vectors_move(on):
    """Timer interrupts come all the time, and the sequence need not be guarded against them."""
    r = Running(program(SERIAL + """
        ISR(TIMER0_COMPA_vect) {}
        int main(void) {
            TIMSK0 = 1 << OCIE0A; TCCR0A = 2; OCR0A = 60; TCCR0B = 1;
            uint8_t wrong = 0;
            sei();
            for (uint8_t n = 0; n < 200; n++) {
                MCUCR = 1 << IVCE;
                MCUCR = 1 << IVSEL;
                wrong += !(MCUCR & 1 << IVSEL);
                MCUCR = 1 << IVCE;
                MCUCR = 0;
                wrong += !!(MCUCR & 1 << IVSEL);
                for (uint8_t k = 0; k < n % 32; k++) asm volatile("nop");
            }
            cli();
            say(wrong ? "wrong" : "moved");
            for (;;);
        }
        __attribute__((naked, used, section(".boot"))) void again(void) { asm volatile("reti"); }
        """, on, f"-Wl,--section-start=.boot={ {'uno': '0x7038', 'mega2560': '0x3E054'}[on] }"), on, options={"fuses": "ff:d9:fd"})
    r.until("moved")
    r.close()


def test_clock_prescaler_in_a_program():
    r = Running(program(SERIAL + """
        int main(void) {
            DDRB = 32;
            CLKPR = 1 << CLKPCE;
            CLKPR = 3;
            for (;;) { PINB = 32; _delay_ms(1); }
        }"""))
    edges = []
    r.pins["D13"].on_change(lambda level: edges.append(r.m.time.now))
    r.run(0.02)
    assert len(edges) > 2 and all(b - a == pytest.approx(8e6, rel=0.001) for a, b in itertools.pairwise(edges))
    r.close()
