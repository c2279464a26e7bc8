"""What can happen to an image, one small file an op (or a pair of mirror images). No randomness here.

An op is `op(images, magnitude, place)`, of which it names what it reads:

    images     [n, C, H, W] uint8, contiguous, a copy that is the op's own: it may write into it. Returns the same shape.
    magnitude  [n] float64 on the CPU. Positive moves right, down, or brighter.
    place      [n, 2] float64 in [0, 1) on the CPU: where in the image, drawn for each image (y, x).
    attention  [n, H, W] uint8: how much a teacher looks at each pixel of the raw image, 255 where it looks most.

Literals of a file, by op name: LIMITS, the magnitudes allowed (an op without them takes none; a lower limit below zero admits a
random sign); NEUTRAL, the magnitude that changes nothing; WHOLE, ops whose magnitude is a whole number.

Rows never look at one another, and arithmetic is either one correctly rounded operation at a time or exact in whole numbers, so
an image looks the same in whatever batch, order or device it is made. Level arithmetic stays in uint8 where it can: on a CPU
core that is thirty times as fast as a look-up with 64-bit indices (composing look-up tables over ops was tried and lost).
"""
