import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.vm_harness import Qmp, make
from tinamou.backends.chardev.base import make as make_chardev
from tinamou.control import qmp


@pytest.fixture
def q():
    vm = make()
    talk = Qmp(vm)
    talk.vm = vm
    return talk


def test_greeting_negotiation_and_line_ends():
    talk = Qmp(make(), negotiate=False)
    assert list(talk.greeting["QMP"]) == ["version", "capabilities"] and talk.greeting["QMP"]["capabilities"] == ["oob"]
    assert talk.greeting["QMP"]["version"]["qemu"] == {"micro": 0, "minor": 1, "major": 5}
    assert talk.error("query-status") == ("CommandNotFound", "Expecting capabilities negotiation with 'qmp_capabilities'")
    assert talk.ask("qmp_capabilities", {"enable": ["oob"]}) == {"return": {}}
    assert talk.error("qmp_capabilities") == (
        "CommandNotFound", "Capabilities negotiation is already complete, command ignored")
    talk.session.feed(b'{"execute": "query-name", "id": 5}')
    assert bytes(talk.out) == b'{"return": {}, "id": 5}\r\n'


@pytest.mark.parametrize("text,kind,message", [
    ('{"execute": "foo", "id": 7}', "CommandNotFound", "The command foo has not been found"),
    ('{"execute":"query-status","arguments":{"x":1}}', "GenericError", "Parameter 'x' is unexpected"),
    ('{"exec":1}', "GenericError", "QMP input member 'exec' is unexpected"),
    ("[1]", "GenericError", "QMP input must be a JSON object"),
    ("5 ", "GenericError", "QMP input must be a JSON object"),
    ('{"execute":5}', "GenericError", "QMP input member 'execute' must be a string"),
    ('{"execute":"query-status","foo":1}', "GenericError", "QMP input member 'foo' is unexpected"),
    ('{"execute":"query-status","arguments":5}', "GenericError", "QMP input member 'arguments' must be an object"),
    ("{bad}", "GenericError", "JSON parse error, invalid keyword 'bad'"),
    ('{"id": 1}', "GenericError", "QMP input lacks member 'execute'"),
    ('{"execute":"human-monitor-command"}', "GenericError", "Parameter 'command-line' is missing"),
    ('{"execute":"human-monitor-command","arguments":{"command-line":5}}', "GenericError",
     "Invalid parameter type for 'command-line', expected: string"),
    ('{"execute":"pmemsave","arguments":{"val":"x","size":16,"filename":"/x"}}', "GenericError",
     "Invalid parameter type for 'val', expected: integer"),
    ('{"execute":"device_del","arguments":{"id":"zz"}}', "DeviceNotFound", "Device 'zz' not found"),
    ('{"execute":"device_add","arguments":{"driver":"zz"}}', "GenericError", "'zz' is not a valid device model name"),
    ('{"execute":"device_add","arguments":{"driver":"virtio-rng-pci","bus":"foo"}}', "GenericError", "Bus 'foo' not found"),
    ('{"execute":"device_add","arguments":{"driver":"virtio-rng-pci"}}', "GenericError",
     "Bus 'pcie.0' does not support hotplugging"),
    ('{"execute":"device-list-properties","arguments":{"typename":"zz"}}', "DeviceNotFound", "Device 'zz' not found"),
    ('{"execute":"qom-list","arguments":{"path":"/nope"}}', "DeviceNotFound", "Device '/nope' not found"),
    ('{"execute":"chardev-remove","arguments":{"id":"zz"}}', "GenericError", "Chardev 'zz' not found"),
    ('{"execute":"ringbuf-read","arguments":{"device":"x","size":1,"format":"q"}}', "GenericError",
     "Parameter 'format' does not accept value 'q'"),
    ('{"execute":"pmemsave","arguments":{"val":0,"size":16,"filename":"/nonexistent/x"}}', "GenericError",
     "Could not open '/nonexistent/x': No such file or directory"),
    ('{"execute":"inject-nmi"}', "GenericError", "this feature or command is not currently supported")])
def test_errors_to_the_letter(q, text, kind, message):
    answer = q.raw(text)[-1]
    assert answer["error"] == {"class": kind, "desc": message}
    assert answer.get("id") == json.loads(text).get("id") if text[0] == "{" and text != "{bad}" else True


def test_the_stream_has_no_lines(q):
    assert q.raw('{"execute":\n"query-name"') == []
    assert q.raw("}{'execute': 'query-name', 'id': 'a\"b'}") == [{"return": {}}, {"return": {}, "id": 'a"b'}]
    assert q.raw(b'{"x": \xff{"execute": "query-name"}') == [{"return": {}}]
    assert q.raw("[" * 2000)[0]["error"]["desc"] == "JSON nesting depth limit exceeded"


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_garbage_gets_answers_only(data):
    talk = Qmp(make_cached(), negotiate=False)
    for answer in talk.raw(data):
        assert set(answer) <= {"error", "id"}


_cache = []


def make_cached():
    if not _cache:
        _cache.append(make())
    return _cache[0]


def test_run_state_and_events(q):
    assert q.ask("query-status") == {"return": {"status": "prelaunch", "singlestep": False, "running": False}}
    rows = q.raw('{"execute": "cont"}')
    assert rows[0]["event"] == "RESUME" and list(rows[0]) == ["timestamp", "event"] and rows[1] == {"return": {}}
    assert q.ask("query-status")["return"]["running"] is True
    assert [r.get("event") for r in q.raw('{"execute": "stop"}')] == ["STOP", None]
    rows = q.raw('{"execute": "system_reset"}')
    assert rows[0]["event"] == "RESET" and rows[0]["data"] == {"guest": False, "reason": "host-qmp-system-reset"}
    assert q.raw('{"execute": "system_powerdown"}')[0]["event"] == "POWERDOWN"
    rows = q.raw('{"execute": "quit"}')
    assert rows[0]["data"] == {"guest": False, "reason": "host-qmp-quit"} and rows[1] == {"return": {}}
    assert q.vm.ended and q.vm.runner.log[:2] == ["start", "stop"]


@pytest.mark.parametrize("value,code", [(0x5555, 0), (0x7_3333, 7)])
def test_guest_shutdown(q, value, code):
    q.vm.machine.memory.write(0x10_0000, value, 4)
    q.vm.loop.once(0)
    assert q.take()[0]["data"] == {"guest": True, "reason": "guest-shutdown"} and q.vm.ended and q.vm.exit_code == code


def test_no_shutdown_and_no_reboot():
    vm = make(no_shutdown=True)
    talk = Qmp(vm)
    talk.ask("cont")
    vm.machine.memory.write(0x10_0000, 0x5555, 4)
    vm.loop.once(0)
    assert vm.status == "shutdown" and not vm.ended
    assert talk.error("cont") == ("GenericError", "Resetting the Virtual Machine is required")
    assert talk.ask("system_reset") == {"return": {}} and talk.ask("cont") == {"return": {}}
    vm = make(no_reboot=True)
    vm.machine.memory.write(0x10_0000, 0x7777, 4)
    vm.loop.once(0)
    assert vm.ended and vm.exit_code == 0


def test_queries(q):
    vm = q.vm
    vm.chardevs["cn"] = make_chardev({"backend": "null", "id": "cn"})
    assert q.ask("query-chardev")["return"] == [{"frontend-open": False, "filename": "null", "label": "cn"}]
    assert q.ask("query-target") == {"return": {"arch": "riscv64"}}
    assert q.ask("query-uuid") == {"return": {"UUID": "00000000-0000-0000-0000-000000000000"}}
    assert q.ask("query-kvm") == {"return": {"enabled": False, "present": False}}
    cpu = q.ask("query-cpus-fast")["return"][0]
    assert cpu == {"cpu-index": 0, "qom-path": "/machine/soc0/harts[0]", "thread-id": 100, "props": {"core-id": 0},
                   "target": "riscv64"}
    machines = {m["name"]: m for m in q.ask("query-machines")["return"]}
    assert {"virt", "spike", "sifive_e", "sifive_u", "opentitan"} <= set(machines) and machines["spike"]["cpu-max"] == 8
    assert machines["none"]["cpu-max"] == 1 and not any(n.startswith("arduino") for n in machines)
    assert q.ask("query-current-machine") == {"return": {"wakeup-suspend-support": False}}
    names = [c["name"] for c in q.ask("query-commands")["return"]]
    assert "query-status" in names and all(n in (*qmp.COMMANDS, "qmp_capabilities") for n in names)
    assert q.ask("qom-get", {"path": "/machine/soc0/harts[0]", "property": "type"}) == {"return": "rv64-riscv-cpu"}
    rows = q.ask("device-list-properties", {"typename": "virtio-rng-device"})["return"]
    assert {"name": "period", "type": "uint32", "default-value": 65536} in rows
    assert {"name": "virtio-rng-pci", "parent": "pci-device"} in q.ask("qom-list-types", {"implements": "pci-device"})["return"]


def test_memory_files(q, tmp_path):
    q.vm.machine.memory.store(0x8000_0000, b"hello")
    assert q.ask("pmemsave", {"val": 0x8000_0000, "size": 5, "filename": str(tmp_path / "p")}) == {"return": {}}
    assert (tmp_path / "p").read_bytes() == b"hello"
    assert "Invalid addr" in q.error("memsave", {"val": 0x5000, "size": 1, "filename": str(tmp_path / "v")})[1]


def test_schema_describes_every_command(q):
    entries = q.ask("query-qmp-schema")["return"]
    by_name = {e["name"]: e for e in entries}
    assert len(by_name) == len(entries)
    for e in entries:
        for key in ("arg-type", "ret-type", "element-type"):
            assert e.get(key, "str") in by_name or key not in e
        for m in e.get("members", []):
            assert m["type"] in by_name
    add = by_name[by_name["device_add"]["arg-type"]]["members"]
    assert add[0] == {"name": "driver", "type": "str"} and add[1] == {"name": "bus", "type": "str", "default": None}
    status = by_name[by_name["query-status"]["ret-type"]]["members"]
    assert [m["name"] for m in status] == ["status", "singlestep", "running"]


def test_undocumented_commands_are_refused():
    with pytest.raises(TypeError, match="not documented"):
        @qmp.command("x-nothing", since="9")
        def nothing(vm):
            pass
    assert "x-nothing" not in qmp.COMMANDS and sys.modules


def test_objects(q):
    assert q.ask("object-add", {"qom-type": "rng-random", "id": "r0", "filename": "/dev/zero"}) == {"return": {}}
    assert q.error("object-add", {"qom-type": "rng-builtin", "id": "r0"})[1].startswith("attempt to add duplicate property 'r0'")
    assert q.error("object-add", {"qom-type": "foo", "id": "r1"})[1] == "Parameter 'qom-type' does not accept value 'foo'"
    assert "No such file" in q.error("object-add", {"qom-type": "rng-random", "id": "r1", "filename": "/nonexistent"})[1]
    q.vm.plug({"driver": "virtio-rng-device", "rng": "r0", "id": "rng"})
    assert q.error("object-del", {"id": "r0"})[1] == "object 'r0' is in use, can not be deleted"
    assert q.error("object-del", {"id": "r9"})[1] == "object 'r9' not found"
    assert q.ask("object-add", {"qom-type": "rng-builtin", "id": "r2"}) == {"return": {}}
    assert {"name": "r2", "type": "child<rng-builtin>"} in q.ask("qom-list", {"path": "/objects"})["return"]
    assert q.ask("object-del", {"id": "r2"}) == {"return": {}}
