"""What a message is: one file per family of messages, with no behaviour beyond checking it.

This package imports nothing else of the project; every other package may import it.
"""
