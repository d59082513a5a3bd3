"""The pytest plug-in, as a user's test suite sees it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from api.bare import SHELL, build

SUITE = """
import pytest

@pytest.fixture
def booted(machine_snapshots, machine):
    def boot():
        from tinamou import Machine
        m = Machine("virt", bios="program.bin", memory="16M")
        m.run(until="> ")
        print("BOOTED")
        return m
    return machine_snapshots.get("shell", boot)

@pytest.mark.parametrize("word", ["one", "two", "three"])
def test_from_a_snapshot(booted, word):
    assert booted.serial.text == "bare metal\\n> "
    booted.serial.write(word + "\\n")
    assert booted.run(until="> ") == f"{word}\\n> "

def test_makes_machines(machine):
    m = machine("virt", bios="program.bin", memory="16M")
    assert m.timeout == 5
    m.run(until="> ")
    with m.fork() as other:
        assert other.serial.text == m.serial.text

def test_fails(machine):
    m = machine("virt", bios="program.bin", memory="16M")
    m.run(until="metal")
    assert False, "on purpose"
"""


def test_fixtures(tmp_path):
    build(tmp_path, SHELL)
    (tmp_path / "test_suite.py").write_text(SUITE)
    command = [sys.executable, "-m", "pytest", "-p", "tinamou.pytest_plugin", "-p", "no:cacheprovider", "--machine-timeout=5", "-rA", "-v"]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the plug-in may be installed: it is loaded once
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=200, env=alone)
    assert re.search(r"1 failed, 4 passed", done.stdout), done.stdout + done.stderr
    assert done.stdout.count("BOOTED") <= 2  # printed once, perhaps shown again in the report
    section = done.stdout.partition("machine 0 (virt), serial port 0")[2]
    assert section.partition("\n")[2].startswith("bare metal")


def test_it_is_found_without_being_asked_for():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["pytest11"]["tinamou"] == "tinamou.pytest_plugin"


def test_it_is_light(tmp_path):
    """Loading the plug-in costs other people's test suites nothing."""
    code = "import pytest, sys; before = set(sys.modules); import tinamou.pytest_plugin; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={**os.environ})
    assert done.returncode == 0, done.stderr
    assert {m for m in done.stdout.split() if m.startswith("tinamou")} == {"tinamou", "tinamou.pytest_plugin"}
