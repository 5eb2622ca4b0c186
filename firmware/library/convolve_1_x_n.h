// SPDX-License-Identifier: Apache-2.0
// Included before two files of CMSIS-NN (CMakeLists.txt here): the Helium form of its 1 x N
// convolution is right for steps of 1 alone. arm_convolve_1_x_n_s8 copies one window less an
// element, and then padding, for all windows that reach past the input's end; with longer steps
// these need more of the input or more padding than that, and read what the buffer held before.
// The bilateral network's strided convolutions are such. The general convolution takes those.
#ifndef M3NET_LIBRARY_CONVOLVE_1_X_N_H
#define M3NET_LIBRARY_CONVOLVE_1_X_N_H

#include "arm_nnsupportfunctions.h"

#define arm_nn_is_convolve_1_x_n(params, input, filter) \
  ((params)->stride.w == 1 && arm_nn_is_convolve_1_x_n((params), (input), (filter)))

#endif
