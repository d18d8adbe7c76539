"""A plan executed: its actions one by one, what is looked after meanwhile, the way back, and the end of everything."""
