"""What is worth an alert: the detector contract, the features it is made of, and one file per built-in detector."""
