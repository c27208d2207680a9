"""The flagship: a network on the atoms gives Fourier coefficients of the density in closed form, one FFT the rest."""
