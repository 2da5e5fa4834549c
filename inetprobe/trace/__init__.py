"""Record → call trace → verdict → the formats that people and programs read."""
