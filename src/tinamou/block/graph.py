"""Opening and creating nodes: from a file name, from options, from a backing file's name in a header."""

from __future__ import annotations

import importlib
import os

from .errors import BlockError
from .node import Filter, Format, Node, Protocol, Settings
from .notation import Any
from .options import Option, Options, flatten, nest, parse_json_filename

FOLDERS = ("formats", "protocols", "filters")
HERE = os.path.dirname(__file__)
MAX_DEPTH = 200
"""Longest backing chain; deeper ones, and loops, are refused."""

PROBE_BYTES = 2048


def driver_files() -> dict[str, str]:
    """Driver modules found by folder: driver name as the file says -> module name."""
    found: dict[str, str] = {}
    for folder in FOLDERS:
        for entry in sorted(os.listdir(os.path.join(HERE, folder))):
            stem, dot, suffix = entry.partition(".")
            if stem.startswith("_") or suffix not in ("", "py", "pyc"):
                continue
            if not dot and not os.path.exists(os.path.join(HERE, folder, entry, "__init__.py")):
                continue
            found[stem.replace("_", "-")] = f"tinamou.block.{folder}.{stem}"
    return found


def all_drivers() -> dict[str, type[Node]]:
    """Every driver there is, installed third-party ones (entry point group `tinamou.block`) included, by name."""
    for module in driver_files().values():
        importlib.import_module(module)
    _load_installed()
    return dict(sorted(Node.drivers.items()))


def _load_installed(name: str | None = None) -> None:
    from importlib.metadata import entry_points

    for point in entry_points(group="tinamou.block"):
        if name is None or point.name == name:
            point.load()


def find_driver(name: str) -> type[Node]:
    """The driver class called `name`; raises `BlockError` for an unknown one, naming near ones."""
    if name not in Node.drivers:
        stem = name.replace("-", "_")
        if stem.isidentifier():
            for folder in FOLDERS:
                base = os.path.join(HERE, folder, stem)
                if os.path.exists(base + ".py") or os.path.exists(os.path.join(base, "__init__.py")):
                    importlib.import_module(f"tinamou.block.{folder}.{stem}")
                    break
    if name not in Node.drivers:
        all_drivers()
    try:
        return Node.drivers[name]
    except KeyError:
        from difflib import get_close_matches

        near = get_close_matches(name, Node.drivers, 1)
        raise BlockError(f"Unknown driver '{name}'", *([f"Did you mean '{near[0]}'?"] if near else [])) from None


def find_format(name: str) -> type[Node]:
    """As `find_driver`, with the words used for `-f`."""
    try:
        return find_driver(name)
    except BlockError as error:
        raise BlockError(f"Unknown file format '{name}'", *error.hints) from None


def protocol_of(filename: str) -> tuple[type[Protocol], dict[str, Any]]:
    """The protocol driver a file name means and the options the name says."""
    prefix, colon, _ = filename.partition(":")
    if colon and "/" not in prefix:
        if prefix == "file":
            filename = filename[5:]
        else:
            for cls in _protocols():
                if prefix in cls.prefixes:
                    return cls, cls.parse_filename(filename)
            raise BlockError(f"Unknown protocol '{prefix}'")
    from .protocols.file import File

    try:
        import stat

        mode = os.stat(filename).st_mode
        if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
            for cls in _protocols():
                if cls.claims(filename):
                    return cls, cls.parse_filename(filename)
    except (OSError, ValueError):
        pass
    return File, File.parse_filename(filename)


def filter_of(filename: str) -> type[Filter] | None:
    """The filter that a name begins with (`blkdebug:CONFIG:IMAGE`)."""
    prefix, colon, _ = filename.partition(":")
    if not colon or not prefix.isalpha() or prefix in ("file", "json"):
        return None
    for name, module in driver_files().items():
        if ".filters." in module and name == prefix:
            importlib.import_module(module)
    found = Node.drivers.get(prefix)
    return found if found is not None and issubclass(found, Filter) and prefix in found.prefixes else None


def _protocols() -> list[type[Protocol]]:
    for module in driver_files().values():
        if ".protocols." in module:
            importlib.import_module(module)
    return [cls for cls in Node.drivers.values() if issubclass(cls, Protocol)]


def combine(base: str, name: str) -> str:
    """`name` as seen from the folder of the image `base`; absolute names and names with a protocol stay."""
    if not name or name.startswith("/") or has_protocol(name):
        return name
    if (above := filter_of(base)) is not None:
        base = above.parse_filename(base)["image"]["filename"]
    if base.startswith("json:"):
        raise BlockError(f"Cannot generate a base directory with '{base}'")
    prefix = base[:5] if base.startswith("file:") else ""
    folder = os.path.dirname(base[len(prefix) :])
    return prefix + (os.path.join(folder, name) if folder else name)


def has_protocol(name: str) -> bool:
    prefix, colon, _ = name.partition(":")
    return bool(colon) and "/" not in prefix


class Generic(Options):
    """Options every node understands."""

    node_name = Option("str", "", None, "node-name")
    read_only = Option("bool (on/off)", "", None, "read-only")
    auto_read_only = Option("bool (on/off)", "", None, "auto-read-only")
    direct = Option("bool (on/off)", "", None, "cache.direct")
    no_flush = Option("bool (on/off)", "", None, "cache.no-flush")
    writeback = Option("bool (on/off)", "", None, "cache.writeback")
    discard = Option("choice", "", None, None, ("ignore", "off", "unmap", "on"))
    detect_zeroes = Option("choice", "", None, "detect-zeroes", ("off", "on", "unmap"))
    force_share = Option("bool (on/off)", "", None, "force-share")


class Graph:
    """All nodes of one process, by name, and the objects (secrets, throttle groups) they refer to."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.objects: dict[str, Any] = {}
        self.warnings: list[str] = []
        self._serial = 0

    def warn(self, message: str) -> None:
        """A condition the user should know of; tools print it as `PROG: warning: ...`."""
        self.warnings.append(message)

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every node, the ones nobody refers to first, then the objects."""
        used = {id(child) for node in self.nodes.values() for child in node.children.values()}
        latest_first = reversed(list(self.nodes.values()))
        for node in sorted(latest_first, key=lambda node: id(node) in used):
            self.close_node(node)
        for thing in self.objects.values():
            thing.close()

    def close_node(self, node: Node) -> None:
        """Close a node and its unshared children."""
        if self.nodes.pop(node.name, None) is None:
            return
        try:
            node.close()
        except OSError as error:
            if isinstance(error, BlockError):
                raise
            raise BlockError(f"Could not complete '{node.filename}': {error.strerror or error}") from error
        finally:
            for child in list(node.children.values()):
                if not any(child in other.children.values() for other in self.nodes.values()):
                    self.close_node(child)

    # Objects

    def add_object(self, properties: dict[str, Any]) -> None:
        """Create a user object: `{"qom-type": "secret", "id": "s0", ...}`."""
        properties = dict(properties)
        kind = properties.pop("qom-type", None)
        if kind is None:
            raise BlockError("Parameter 'qom-type' is missing")
        name = properties.pop("id", None)
        if name is None:
            raise BlockError("Parameter 'id' is missing")
        from .objects import new_object

        made = new_object(self, str(kind), str(name), properties)
        if name in self.objects:
            made.close()
            raise BlockError(f"attempt to add duplicate property '{name}' to object (type 'container')")
        self.objects[name] = made

    def secret(self, name: str) -> bytearray:
        """The bytes of the secret object `name`, not copied."""
        try:
            secret = self.objects[name]
        except KeyError:
            raise BlockError(f"No secret with id '{name}'") from None
        data = getattr(secret, "data", None)
        if not isinstance(data, bytearray):
            raise BlockError(f"Object with id '{name}' is not a secret")
        return data

    # Opening

    def open(self, filename: str, fmt: str | None = None, settings: Settings | None = None, options: dict[str, Any] | None = None) -> Node:
        """Open the image `filename` (a path, `json:{...}`, `nbd:...`); `fmt` None looks at its contents."""
        options = dict(options or {})
        if fmt is not None:
            options["driver"] = fmt
        return self.open_options(options, settings or Settings(), filename)

    def open_options(
        self, options: dict[str, Any], settings: Settings | None = None, filename: str | None = None, as_file: bool = False
    ) -> Node:
        """Open a node from (nested or dotted) options; `as_file`: stay at the protocol level unless a driver says more."""
        settings = settings or Settings()
        if filename is not None and filename.startswith("json:"):
            options = {**parse_json_filename(filename), **options}
            filename = None
        options = nest(options)
        generic, options = self._take_generic(options)
        settings = self._settings(settings, generic)
        driver = options.pop("driver", None)
        if filename is None and isinstance(options.get("filename"), str) and not (driver and _is_protocol(driver)):
            filename = options.pop("filename")
            if filename.startswith("json:"):
                inner = parse_json_filename(filename)
                if driver is not None:
                    inner["driver"] = driver
                return self.open_options({**inner, **options}, settings, None, as_file)

        if driver is None and as_file and "file" not in options:
            if filename is None:
                raise BlockError("Must specify either driver or file")
            if (above := filter_of(filename)) is not None:
                return self.open_options({**above.parse_filename(filename), **options}, settings, None, True)
            cls_p, said = protocol_of(filename)
            return self._make(cls_p, {**said, **options}, {}, settings, generic, filename, True)
        if driver is None:
            if filename is None and "file" not in options:
                raise BlockError("Must specify either driver or file")
            file = self._open_file(options, settings, filename)
            try:
                driver = probe(file)
                cls = find_driver(driver)
                node = self._finish(cls, options, {"file": file}, settings, generic, filename)
                node.probed = True
                return node
            except BaseException:
                self._drop(file)
                raise
        if not isinstance(driver, str):
            raise BlockError("Parameter 'driver' expects a string")
        cls = find_driver(driver)
        if issubclass(cls, Protocol):
            if filename is not None:
                prefix = filename.partition(":")[0]
                if prefix in cls.prefixes or not has_protocol(filename):
                    options = {**cls.parse_filename(filename), **options}
                elif filename.startswith("file:"):
                    options = {**cls.parse_filename(filename[5:]), **options}
                else:
                    raise BlockError(f"The '{driver}' driver cannot open '{filename}'")
            name = filename or str(options.get("filename", ""))
            return self._make(cls, options, {}, settings, generic, name, as_file)
        children: dict[str, Node] = {}
        try:
            if cls.main_child in cls.child_names:
                over_image = issubclass(cls, Filter) and not as_file
                children[cls.main_child] = self._open_file(options, settings, filename, over_image, cls.main_child)
            return self._finish(cls, options, children, settings, generic, filename)
        except BaseException:
            for child in children.values():
                self._drop(child)
            raise

    def _drop(self, node: Node) -> None:
        if node.name in self.nodes and not any(node in other.children.values() for other in self.nodes.values()):
            self.close_node(node)

    def _take_generic(self, options: dict[str, Any]) -> tuple[Generic, dict[str, Any]]:
        flat = flatten({"cache": options.pop("cache")}) if isinstance(options.get("cache"), dict) else {}
        known = Generic.keys()
        for key in list(options):
            if key in known:
                flat[key] = options.pop(key)
        for key in flat:
            if key not in known:
                raise BlockError(f"Invalid parameter '{key}'")
        return Generic(flat), options

    def _settings(self, settings: Settings, generic: Generic) -> Settings:
        changed: dict[str, Any] = {}
        if generic.read_only is not None:
            changed["write"] = not generic.read_only
        if generic.auto_read_only is not None:
            changed["auto_read_only"] = generic.auto_read_only
        if generic.direct is not None:
            changed["direct"] = generic.direct
        if generic.no_flush is not None:
            changed["no_flush"] = generic.no_flush
        if generic.discard is not None:
            changed["discard"] = "unmap" if generic.discard in ("unmap", "on") else "ignore"
        if generic.detect_zeroes is not None:
            changed["detect_zeroes"] = generic.detect_zeroes
        if generic.force_share is not None:
            changed["force_share"] = generic.force_share
        settings = settings.replace(**changed)
        if settings.force_share and settings.write:
            raise BlockError("force-share=on can only be used with read-only images")
        if settings.detect_zeroes == "unmap" and settings.discard != "unmap" and generic.detect_zeroes is not None:
            raise BlockError("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")
        return settings

    def _open_file(self, options: dict[str, Any], settings: Settings, filename: str | None, above: bool = False, key: str = "file") -> Node:
        """The `file` child: from a file name, from options under `file`, or a reference to a named node. `above`: it is for a filter
        over an image, whose format has to be said; the image's backing file is opened, too."""
        below = settings.replace(backing=True) if above else settings
        given = options.pop(key, None)
        if isinstance(given, str):
            return self.find(given)
        if given is None:
            if filename is None:
                raise BlockError(f'A block device must be specified for "{key}"')
            given = {}
        if not isinstance(given, dict):
            raise BlockError(f"Parameter '{key}' expects a node name or options")
        return self.open_options(given, below, filename, as_file=True)

    def find(self, name: str) -> Node:
        try:
            return self.nodes[name]
        except KeyError:
            raise BlockError(f"Cannot find device='{name}' nor node-name='{name}'") from None

    def _finish(
        self,
        cls: type[Node],
        options: dict[str, Any],
        children: dict[str, Node],
        settings: Settings,
        generic: Generic,
        filename: str | None,
    ) -> Node:
        if cls.main_child in children and (filename is None or not has_protocol(children[cls.main_child].filename)):
            filename = children[cls.main_child].filename
        return self._make(cls, options, children, settings, generic, filename or "")

    def _make(
        self,
        cls: type[Node],
        options: dict[str, Any],
        children: dict[str, Node],
        settings: Settings,
        generic: Generic,
        filename: str,
        as_file: bool = False,
    ) -> Node:
        child_options = {k: options.pop(k) for k in cls.child_names if k != cls.main_child and k in options}
        rules = cls.split_options(options)
        flat = flatten(options)
        unknown = [key for key in flat if key not in cls.Open.keys()]
        if unknown:
            raise BlockError(f"Block {cls.kind} '{cls.driver}' does not support the option '{unknown[0]}'")
        node = cls(self, cls.Open(flat), settings)
        node.filename = filename
        node.children.update(children)
        node.rules = rules
        node.full_options = {"driver": cls.driver, **flat}
        name = generic.node_name
        if name is not None:
            if name in self.nodes:
                raise BlockError(f"Duplicate nodes with node-name='{name}'")
        else:
            self._serial += 1
            name = f"#block{self._serial:03d}"
        node.name = name
        for key, value in child_options.items():
            if key == "backing":
                continue
            if isinstance(value, str):
                node.children[key] = self.find(value)
            elif isinstance(value, dict):
                node.children[key] = self.open_options(value, settings, None, as_file=True)
        self.nodes[name] = node
        try:
            self._lock(node)
            node.open()
            if isinstance(node, Protocol) and not as_file:
                node.lock(False, settings.exclusive)
            if isinstance(node, Format):
                self._open_backing(node, child_options, settings)
        except BaseException:
            self.nodes.pop(name, None)
            for key, child in list(node.children.items()):
                if key not in children:
                    self._drop(child)
            raise
        return node

    def _lock(self, node: Node) -> None:
        """Take the host locks a format or filter needs on its files."""
        owner = isinstance(node, Format) and node.owns_file
        for child in node.children.values():
            while child.below is not None:
                child = child.below
            if isinstance(child, Protocol):
                child.lock(owner, owner or node.settings.exclusive)

    def _open_backing(self, node: Format, options: dict[str, Any], settings: Settings) -> None:
        given = options.get("backing", ...)
        if given == "":
            self.warn('Use of "backing": "" is deprecated; use "backing": null instead')
        if given is None or given == "":
            node.backing_file_overridden = True  # type: ignore[attr-defined]
            return
        if not settings.backing and given is ...:
            return
        if given is not ... and not node.supports_backing:
            raise BlockError(f"Driver doesn't support backing files")  # noqa: F541
        below = settings.replace(write=False, backing=True, for_check=False, discard="ignore", detect_zeroes="off")
        if isinstance(given, str):
            node.children["backing"] = self.find(given)
            return
        extra = dict(given) if isinstance(given, dict) else {}
        name = node.backing_file
        if not name and not extra:
            return
        filename: str | None = None
        if name and not ({"file", "driver", "filename"} & set(nest(extra))):
            filename = name if name.startswith("json:") else combine(node.filename, name)
        if node.backing_format and "driver" not in extra and filename is not None:
            extra["driver"] = node.backing_format
        self._chain = getattr(self, "_chain", 0) + 1
        try:
            if self._chain > MAX_DEPTH:
                raise BlockError(f"The backing chain of '{node.filename}' is deeper than {MAX_DEPTH} images or a loop")
            if filename is not None and self._in_chain(node, filename):
                raise BlockError(f"Backing file '{filename}' creates an infinite loop.")
            self._opening = [*getattr(self, "_opening", []), node]
            node.children["backing"] = self.open_options(extra, below, filename)
        except BlockError as error:
            if error.message.startswith("Could not open backing"):
                raise
            raise error.under("Could not open backing file") from None
        finally:
            self._chain -= 1
            if getattr(self, "_opening", None) and self._opening[-1] is node:
                self._opening = self._opening[:-1]

    def _in_chain(self, node: Format, filename: str) -> bool:
        """Whether opening `filename` under `node` would close a circle of files."""
        try:
            target = os.stat(filename)
        except (OSError, ValueError):
            return False
        for above in [*getattr(self, "_opening", []), node]:
            try:
                if os.path.samestat(os.stat(above.filename), target):
                    return True
            except (OSError, ValueError):
                continue
        return False


def _is_protocol(name: Any) -> bool:
    return isinstance(name, str) and issubclass(find_driver(name), Protocol)


def probe(file: Node) -> str:
    """The format that knows best what `file` holds; "raw" when none claims it."""
    head = file.read(0, min(PROBE_BYTES, file.size)) if file.size else b""
    return probe_bytes(head, file.size, file.filename)


def probe_bytes(head: bytes, file_size: int, filename: str) -> str:
    """As `probe`, from the first bytes. The format that the file's name ends in is asked first, which saves loading the others
    when it is certain."""
    modules = {name: module for name, module in driver_files().items() if ".formats." in module}
    likely = filename.rpartition(".")[2].lower()
    best, score = "raw", 1
    for name in sorted(modules, key=lambda name: name != likely):
        if name not in Node.drivers:
            importlib.import_module(modules[name])
        cls = Node.drivers.get(name)
        if cls is not None and issubclass(cls, Format):
            s = cls.probe(head, file_size, filename)
            if s >= 100:
                return name
            if s > score:
                best, score = name, s
    for name, cls in list(Node.drivers.items()):
        if name not in modules and issubclass(cls, Format):
            s = cls.probe(head, file_size, filename)
            if s > score:
                best, score = name, s
    return best


def create(
    graph: Graph,
    filename: str,
    fmt: str,
    options: Options,
) -> None:
    """Create an image: the protocol makes the file, the format writes an empty disk into it.

    `options` is an instance of the format's `Create` merged with the protocol's (see `create_class`).
    """
    cls = find_format(fmt)
    proto, _ = protocol_of(filename)
    options.validate()
    if issubclass(cls, Protocol):
        cls.create_file(graph, filename, options)
        return
    if not issubclass(cls, Format) or not cls.can_create:
        raise BlockError(f"Format driver '{fmt}' does not support image creation")
    cls.create_image(graph, filename, proto, options)


def create_class(fmt: str, filename: str | None = None) -> type[Options]:
    """What `create -f fmt -o ...` understands for that file: the format's options and the protocol's."""
    cls = find_format(fmt)
    if not cls.can_create:
        raise BlockError(f"Format driver '{fmt}' does not support image creation")
    if filename is None or issubclass(cls, Protocol):
        return cls.Create
    proto, _ = protocol_of(filename)
    if not proto.can_create:
        return cls.Create
    extra = {o.attribute: o for o in proto.Create.declared() if o.key not in cls.Create.keys() and o.attribute != "size"}
    if not extra:
        return cls.Create
    return type("Create", (cls.Create,), extra)
