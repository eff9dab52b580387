"""Recorded city data into the raw topics: one mapping file for each data set, and the reader that follows it."""
