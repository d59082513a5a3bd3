"""Timer flags that the CPU sets by itself (docs/avr.md, alarms): the same run as with an event for each, to the cycle."""

from __future__ import annotations

import pytest

from avr_guests import Running, port_stores, program
from tinamou.boards.avr.common import ShiftedHints

HEAD = """
#include <avr/io.h>
#include <avr/interrupt.h>
#include <avr/sleep.h>
volatile unsigned char n;
"""

PROGRAMS = {
    "overflow": """
        ISR(TIMER0_OVF_vect) { PORTB = n++; }
        int main(void) { TCCR0A = 3; TCCR0B = 2; TIMSK0 = 1; sei(); for (;;) PORTD = TCNT0; }
    """,
    "ctc": """
        ISR(TIMER1_COMPA_vect) { PORTB = n++; if (n & 8) OCR1A = 700 + n; }
        ISR(TIMER1_COMPB_vect) { PORTB = n++; PORTD = TIFR1; }
        int main(void) { OCR1A = 999; OCR1B = 400; TCCR1B = 1 << WGM12 | 1; TIMSK1 = 6; sei(); for (;;) PORTC = TCNT1L; }
    """,
    "polled": """
        int main(void) {
            OCR2A = 77; TCCR2A = 2; TCCR2B = 3;
            for (;;) { while (!(TIFR2 & 2)); TIFR2 = 2; PORTB = n++; if (n == 100) OCR2A = 50; PORTD = TCNT2; }
        }
    """,
    "phase": """
        ISR(TIMER2_OVF_vect) { PORTB = n++; }
        ISR(TIMER2_COMPA_vect) { PORTD = n; }
        ISR(TIMER0_COMPA_vect) { PORTC = n; }
        int main(void) { OCR2A = 0xC0; TCCR2A = 1; TCCR2B = 1; TIMSK2 = 3; OCR0A = 9; TCCR0A = 1; TCCR0B = 9; TIMSK0 = 2; sei(); for (;;); }
    """,
    "sleep": """
        ISR(TIMER2_OVF_vect) { PORTB = n++; }
        ISR(TIMER0_OVF_vect) { PORTD = n; }
        int main(void) {
            TCCR2B = 1; TIMSK2 = 1; TCCR0B = 3; TIMSK0 = 1; sei();
            for (;;) { set_sleep_mode(SLEEP_MODE_IDLE); sleep_mode(); PORTC = TCNT2; }
        }
    """,
    "masks": """
        ISR(TIMER0_OVF_vect) { PORTB = n++; if (n % 5 == 0) TIMSK0 = 4; }
        ISR(TIMER0_COMPB_vect) { PORTD = n++; if (n % 3 == 0) TIMSK0 = 5; if (n % 7 == 0) { TIFR0 = 7; TCNT0 = 3; } }
        int main(void) { OCR0B = 200; TCCR0B = 1; TIMSK0 = 1; sei(); for (;;) { cli(); PORTC = TIFR0; sei();
                       for (char k = 0; k < 50; k++) asm volatile("nop"); } }
    """,
    "prescaler": """
        ISR(TIMER0_OVF_vect) { PORTB = n++; if (n == 20) GTCCR = 1; if (n == 40) TCCR0B = 1; if (n == 60) { CLKPR = 0x80; CLKPR = 1; } }
        int main(void) { TCCR0B = 2; TIMSK0 = 1; sei(); for (;;) PORTD = TCNT0; }
    """,
}


def trace(name: str, seconds: float) -> list[tuple[int, int, int]]:
    """(cycle, register, value) of each store to a port."""
    r = Running(program(HEAD + PROGRAMS[name]), "uno")
    out = port_stores(r)
    r.run(seconds)
    r.close()
    return out


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_same_to_the_cycle(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    by_alarms = trace(name, 0.01)
    monkeypatch.setattr(ShiftedHints, "steady", lambda self: False)
    by_events = trace(name, 0.01)
    assert len(by_events) > 20
    assert by_alarms == by_events


def test_high_bytes_go_through_one_register() -> None:
    """TEMP of a 16-bit timer, while the CPU counts by itself: loads of TCNT1L set it, writes of high bytes set it, TCNT1H shows it."""
    source = """int main(void) { TCCR1B = 1; for (unsigned char n = 1; ; n++) {
        OCR1BH = n; PORTB = TCNT1H;
        PORTC = TCNT1L; OCR1AL = 7; PORTD = OCR1AH; PORTD = TCNT1H; } }"""
    r = Running(program(HEAD + source))
    out = port_stores(r)
    r.run(0.01)
    stores = {at: [value for _, address, value in out if address == at] for at in (0x25, 0x28, 0x2B)}
    assert stores[0x25][:600] == [n & 0xFF for n in range(1, 601)]
    assert stores[0x2B][0:-2:2] == stores[0x2B][1:-1:2] and len(set(stores[0x2B])) == 256
    r.close()
