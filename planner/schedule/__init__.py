"""Plans that follow each other in time: which windows have a plan of their own, and who sleeps while it is not needed."""
