"""Which of the answers that serve and cost alike is taken, by the fleet's goals."""
