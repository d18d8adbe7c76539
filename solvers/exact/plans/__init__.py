"""Plans from the relaxation of a stage: dives, integer programs, and better plans near known ones."""
