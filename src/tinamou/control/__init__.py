"""How people and tools steer a machine: option grammar, QMP, HMP, qtest, gdb."""
