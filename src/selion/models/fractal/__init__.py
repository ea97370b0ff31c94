"""FracTAL ResUNet, the network of DECODE."""
