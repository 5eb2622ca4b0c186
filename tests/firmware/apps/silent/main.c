// SPDX-License-Identifier: Apache-2.0
// Prints half a line and stops.

#include "console.h"
#include "platform.h"

int main(void) {
  m3net_board_init();
  m3net_console_text("half a li");
  for (;;) {
  }
}
