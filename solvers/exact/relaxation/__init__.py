"""The relaxation of a stage: columns, cuts, prices and the bounds that they give."""
