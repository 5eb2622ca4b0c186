// SPDX-License-Identifier: Apache-2.0
// Says half a line and no more.

#include "console.h"
#include "platform.h"

int main(void) {
  m3net_board_init();
  m3net_console_text("half a li");
  for (;;) {
  }
}
