"""Whether a recipe helps: the experiment, its measures and its statistics."""
