// SPDX-License-Identifier: Apache-2.0
// The byte ring of the UARTs and the window of feature columns, each compared with a model that is
// too simple to be wrong.

#include <stdlib.h>
#include <string.h>

#include "byte_ring.h"
#include "ring.h"

