"""CityJoin in the Python engines' own words: these run in the engines' environments and import nothing of ours."""
