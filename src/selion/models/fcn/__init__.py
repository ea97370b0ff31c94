"""A fully convolutional network without a pyramid."""
