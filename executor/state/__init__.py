"""What outlives a command on disk: the state folder, its lock, the journal and the plan's prior."""
