"""Record → call trace → verdict → what is read."""
