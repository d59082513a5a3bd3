"""What any board is made of: memory map, interrupt lines, clocks and virtual time, registers, properties, snapshots."""
