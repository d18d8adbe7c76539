"""Systems that start what a plan says: Compose, Ray, Slurm and systemd."""
