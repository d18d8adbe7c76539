"""How one replica of a service group can run, and the Problem made of all such candidates."""
