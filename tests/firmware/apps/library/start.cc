// SPDX-License-Identifier: Apache-2.0
// Vector table of the emulated board, whose memory at 0x20000000 has 4 MiB; newlib has the rest.

extern "C" void _start(void);

__attribute__((section(".vectors"), used)) static void* const vectors[] = {
    reinterpret_cast<void*>(0x20400000), reinterpret_cast<void*>(_start)};
