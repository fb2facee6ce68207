"""Pictures of examples and predictions, uint8 [height, width, 3].

Functions that draw a list of images or texts draw the first ones, and raise ValueError if there are none. A class
without a name is shown by its number.
"""
