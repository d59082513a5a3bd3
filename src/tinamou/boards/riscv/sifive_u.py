"""SiFive HiFive Unleashed: FU540-C000 manual, chapter 5 (memory map), chapter 10 (interrupts)."""

from __future__ import annotations

from typing import Annotated

from tinamou.boards.riscv.common import add_clint, add_devices, add_harts, add_plic, boot, start_tree
from tinamou.devices.char.sifive_uart import SifiveUart
from tinamou.devices.gpio.sifive_gpio import SifiveGpio
from tinamou.devices.misc.sifive_otp import SifiveUOtp
from tinamou.devices.misc.sifive_u_prci import SifiveUPrci
from tinamou.devices.pwm.sifive_pwm import SifivePwm
from tinamou.devices.ssi.nor import Is25wp256
from tinamou.devices.ssi.sifive_spi import SifiveSpi
from tinamou.firmware.fdt import Node, Tree
from tinamou.machine.board import board
from tinamou.machine.lines import Pin
from tinamou.machine.machine import Machine
from tinamou.machine.memory import KiB, MiB

RAM, FLASH0, L2LIM = 0x8000_0000, 0x2000_0000, 0x0800_0000
HFCLK, RTCCLK = 33_333_333, 1_000_000
TLCLK = 3                               # number of the peripheral clock in the clock controller's binding
RESTART_PIN = 10                        # active low, as on the board
POWER_PIN = 11                          # active low; the board itself has no power switch that software reaches: its guests would hang
START_IN_FLASH = "Set on to tell QEMU's ROM to jump to flash. Otherwise QEMU will jump to DRAM or L2LIM depending on the msel value"


@board("sifive_u", "RISC-V Board compatible with SiFive U SDK", arch="riscv", max_cpus=5, min_cpus=2, default_cpus=2,
       cpu="sifive-u54")
def sifive_u(m: Machine, *, start_in_flash: Annotated[bool, START_IN_FLASH] = False,
             msel: Annotated[int, "Mode Select (MSEL[3:0]) pin state"] = 0,
             serial: Annotated[int, "Board serial number"] = 1) -> None:
    """One monitor core and up to four application cores that run Linux."""
    person, m.settings.cpu = m.settings.cpu, ""
    add_harts(m, "sifive-e51", 1, resetvec=0x1004)
    m.settings.cpu = person
    add_harts(m, "sifive-u54", m.settings.cpus - 1, resetvec=0x1004)
    m.rom(0x0000_1000, 60 * KiB, "riscv.sifive.u.mrom")
    add_clint(m, 0x0200_0000, RTCCLK)
    m.stub(0x0201_0000, "riscv.sifive.u.l2cc")
    m.stub(0x0300_0000, "riscv.sifive.u.pdma", 0x10_0000)
    m.ram(L2LIM, 32 * MiB, "riscv.sifive.u.l2lim")
    plic = add_plic(m, 0x0C00_0000, ",".join(["M"] + ["MS"] * (m.settings.cpus - 1)), 53, 0x400_0000)
    prci = m.at(0x1000_0000, SifiveUPrci())
    tlclk = m.clock(500_000_000)
    m.at(0x1001_0000, SifiveUart(chardev=m.serial(0)), span=0x1000, irq=plic[4])
    m.at(0x1001_1000, SifiveUart(chardev=m.serial(1)), span=0x1000, irq=plic[5])
    m.at(0x1002_0000, SifivePwm(clock=tlclk), span=0x1000, irq=[plic[42 + n] for n in range(4)])
    m.at(0x1002_1000, SifivePwm(clock=tlclk), span=0x1000, irq=[plic[46 + n] for n in range(4)])
    qspi0 = m.at(0x1004_0000, SifiveSpi(flash=True), irq=plic[51])
    qspi0.ssi.plug(Is25wp256(drive=m.drive("mtd", 0)))
    m.at(0x1005_0000, SifiveSpi(), irq=plic[6])
    gpio = m.at(0x1006_0000, SifiveGpio(ngpio=16), span=0x1000, irq=[plic[7 + n] for n in range(16)])
    restart = Pin(lambda level: m.request_reset() if driven_low(gpio, RESTART_PIN) else None, "restart")
    power = Pin(lambda level: m.request_shutdown() if driven_low(gpio, POWER_PIN) else None, "power")
    gpio.connect("output", [*[Pin(lambda level: None)] * RESTART_PIN, restart, power])
    m.at(0x1007_0000, SifiveUOtp(serial=serial))
    m.stub(0x1009_0000, "riscv.sifive.u.gem", 0x2000)
    m.stub(0x100A_0000, "riscv.sifive.u.gem-mgmt")
    m.stub(0x100B_0000, "riscv.sifive.u.dmc", 0x1_0000)
    m.ram(FLASH0, 256 * MiB, "riscv.sifive.u.flash0")
    m.ram(RAM, m.settings.ram_size, "riscv.sifive.u.ram")

    tree, soc = start_tree(m, "SiFive HiFive Unleashed A00", "sifive,hifive-unleashed-a00", RAM, RTCCLK, cpu_map=False)
    add_devices(m, tree, soc)
    finish_tree(tree, soc, prci, gpio)
    xlen = m.cpus[-1].facts()["xlen"]
    start = FLASH0 if start_in_flash or msel in (1, 2, 5) else L2LIM if msel in (6, 8, 9, 10, 11) else None
    boot(m, tree, ram_base=RAM, rom_base=0x1000, firmware=f"opensbi-riscv{xlen}-generic-fw_dynamic.bin", flash=start,
         code_at=4)
    m.blob("msel", 0x1000, msel.to_bytes(4, "little"))


def driven_low(gpio: SifiveGpio, n: int) -> bool:
    """The pin is an output, and low: one that nobody drives, as after a reset, is held high by the board."""
    return bool(gpio.output_en >> n & 1 and not gpio.pads() >> n & 1)


def finish_tree(tree: Tree, soc: Node, prci: SifiveUPrci, gpio: SifiveGpio) -> None:
    """Clocks, aliases, restart by GPIO, and the parts of nodes that only this board knows."""
    root = tree.root
    root.add("chosen", stdout_path="/soc/serial@10010000")
    root.add("aliases", serial0="/soc/serial@10010000", serial1="/soc/serial@10011000")
    for name, hz in (("rtcclk", RTCCLK), ("hfclk", HFCLK)):
        node = root.add(name, compatible="fixed-clock", clock_output_names=name, clock_frequency=hz)
        node["#clock-cells"] = 0
        tree.phandle(name, node)
    controller = soc.children["clock-controller@10000000"]
    handle = tree.phandle(prci, controller)
    controller["clocks"] = [tree.phandle("hfclk"), tree.phandle("rtcclk")]
    for path in ("serial@10010000", "serial@10011000", "pwm@10020000", "pwm@10021000", "spi@10040000", "spi@10050000",
                 "gpio@10060000"):
        soc.children[path]["clocks"] = [handle, TLCLK]
    gpio_handle = tree.phandle(gpio, soc.children["gpio@10060000"])
    root.add("gpio-restart", compatible="gpio-restart", gpios=[gpio_handle, RESTART_PIN, 1])
    root.add("gpio-poweroff", compatible="gpio-poweroff", gpios=[gpio_handle, POWER_PIN, 1])
    flash = soc.children["spi@10040000"].add("flash@0", compatible="jedec,spi-nor", reg=[0], spi_max_frequency=50_000_000,
                                             spi_tx_bus_width=4, spi_rx_bus_width=4)
    flash["m25p,fast-read"] = True
    plic = soc.children.pop("plic@c000000")
    plic.name = "interrupt-controller@c000000"
    plic["#address-cells"] = False
    soc.children[plic.name] = plic
