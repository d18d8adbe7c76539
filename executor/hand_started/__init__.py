"""vLLM servers that somebody else started on this machine: found, asked, and taken into a state folder. Nothing here is signalled."""
