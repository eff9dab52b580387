"""A city that lives: seeded devices, weather and incidents that take their physical course and make the records."""
