"""The command line: one small file a verb. Each wires the rest together; none decides anything."""
