"""Goals after unserved demand and cost: answers that load less and leave less unusable, with what comes first pinned."""
