"""What people and programs read: values of a run, the state and a plan turned into text and JSON. Pure."""
