import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinamou.control.options import keyval, only, opts, quote, readconfig, wants_help, writeconfig
from tinamou.machine.props import PropertyError


def test_older_form():
    assert opts("virt,accel=tcg", "type") == {"type": "virt", "accel": "tcg"}
    assert opts("socket,id=a,path=/x,,y,server,nowait", "backend") == {
        "backend": "socket", "id": "a", "path": "/x,y", "server": "on", "wait": "off"}
    assert opts("id=a,x=1,x=2") == {"id": "a", "x": "2"} and opts("") == {}
    assert opts("a=,b") == {"a": "", "b": "on"} and opts("file=a=b") == {"file": "a=b"}
    assert wants_help(opts("virt,help", "type")) and wants_help(opts("?", "type"))
    with pytest.raises(PropertyError, match="Parameter 'id' expects an identifier"):
        opts("id=_a")


def test_newer_form():
    assert keyval("qcow2,file.driver=file,file.filename=a,,b,x.0=p,x.1=q", "driver") == {
        "driver": "qcow2", "file": {"driver": "file", "filename": "a,b"}, "x": ["p", "q"]}
    assert keyval('{"driver": "raw", "size": 5}') == {"driver": "raw", "size": 5}
    for text, message in (("virt,kernel", "Expected '=' after parameter 'kernel'"), ("a=1,a.b=2", "used inconsistently"),
                          ("a.b=2,a=1", "used inconsistently"), ("x.0=a,x.2=b", r"Parameter 'x.1' missing"),
                          ("x.0=a,x.y=b", "used inconsistently"), ("a b=1", "Invalid parameter 'a b'"),
                          ("{", "JSON parse error"), ("x.99999=1", "missing")):
        with pytest.raises(PropertyError, match=message):
            keyval(text, "type")


def test_unknown_keys_name_the_nearest():
    with pytest.raises(PropertyError, match="Invalid parameter 'gest'") as e:
        only({"gest": "x"}, ("guest", "process"))
    assert e.value.hint == "nearest: guest"


def test_config_files():
    text = '[device "d0"]\n  driver = "virtio-blk-pci"\n# note\n[machine]\n  type = "virt"\n'
    groups = readconfig(text)
    assert groups == [("device", "d0", {"driver": "virtio-blk-pci"}), ("machine", "", {"type": "virt"})]
    assert readconfig(writeconfig(groups)) == groups
    with pytest.raises(PropertyError, match="line 2: parse error"):
        readconfig("[a]\nb = c\n")
    with pytest.raises(PropertyError, match="line 1: no group defined"):
        readconfig('b = "c"\n')


words = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)


@settings(deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9-]{0,8}", fullmatch=True).filter(lambda k: k not in ("id", "help")), words, max_size=5))
def test_quoted_values_come_back(values):
    text = ",".join(f"{k}={quote(v)}" for k, v in values.items())
    assert opts(text) == values and keyval(text) == values


@settings(deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text):
    for parse in (opts, keyval):
        try:
            parse(text, "type")
        except PropertyError:
            pass
