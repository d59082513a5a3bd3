"""Lists (-l), takes (-c), applies (-a) and deletes (-d) internal snapshots."""

from __future__ import annotations

from tinamou.block.errors import BlockError
from tinamou.block.node import Format
from tinamou.block.notation import Any
from tinamou.tools.cli import Args
from tinamou.tools.imgcmd import Exit, Graph, Settings, one_file, open_image, usage_error
from tinamou.tools.imgcmd.info import collect, snapshot_table

USAGE = "[--object objectdef] [--image-opts] [-U] [-q] [-l | -a snapshot | -c snapshot | -d snapshot] filename"
OPTIONS = "l a= c= d= q object= image-opts U|force-share f="


def run(args: Args, graph: Graph) -> int:
    actions = [(letter, value) for letter in "lacd" for value in args.all(letter)]
    if len(actions) > 1:
        raise usage_error("Cannot mix '-l', '-a', '-c', '-d'")
    filename = one_file(args)
    action, name = actions[0] if actions else ("l", "")
    node: Any = open_image(graph, args, filename, Settings(write=action != "l", exclusive=action != "l"), args["f"])
    if action == "l":
        found = collect(node).get("snapshots") if isinstance(node, Format) else None
        if found:
            print("Snapshot list:")
            print("\n".join(snapshot_table(found)))
        return 0
    if not hasattr(node, "create_snapshot"):
        if action == "c":
            raise Exit(1, f"Could not create snapshot '{name}': -95 (Operation not supported)")
        if action == "a":
            raise Exit(1, f"Could not apply snapshot '{name}': Block format '{node.driver}' does not support internal snapshots")
        raise Exit(1, f"Could not delete snapshot '{name}': snapshot not found")
    try:
        if action == "c":
            node.create_snapshot(name)
        elif action == "a":
            node.apply_snapshot(name, name, either=True)
        else:
            node.delete_snapshot(None, name)
    except BlockError as error:
        verb = {"c": "create", "a": "apply", "d": "delete"}[action]
        text = error.message
        if text == "Can't find snapshot":
            text = "Failed to load snapshot: No such file or directory" if action == "a" else "snapshot not found"
        raise Exit(1, f"Could not {verb} snapshot '{name}': {text}", *("\t" + hint for hint in error.hints)) from None
    return 0
