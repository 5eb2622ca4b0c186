// SPDX-License-Identifier: Apache-2.0
// The monitor on the host, over a model without a runtime.
//
//   serve [FILE]        answers on standard input and output; FILE is the microphone's input
//   batter COUNT SEED   takes COUNT malformed lines, and must answer as before between them

#include "monitor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "board.h"
#include "crc32.h"
#include "model_slots.h"
#include "platform.h"
#include "random.h"
#include "storage.h"

#define LINES_BETWEEN_CHECKS 1000u
#define LINES_BETWEEN_EXCHANGES 200u
#define BUFFER_BYTES (2 * M3NET_FRONTEND_SAMPLE_RATE_HZ)

static m3net_recognizer recognizer;
static m3net_live live;
static m3net_monitor monitor;
// From the heap, of exactly that size: the sanitiser sees each step beyond.
static uint8_t* buffer;
static uint8_t arena[16] __attribute__((aligned(M3NET_MODEL_ALIGNMENT)));

static int fail(const char* text) {
  fprintf(stderr, "m3net_monitor_host: %s\n", text);
  return 2;
}

static bool start(void) {
  buffer = buffer == NULL ? malloc(BUFFER_BYTES) : buffer;
  m3net_model_slots_start();
  if (buffer == NULL || m3net_recognizer_init(&recognizer, arena, sizeof(arena)) != M3NET_OK ||
      m3net_live_init(&live, &recognizer) != M3NET_OK) {
    return false;
  }
  memset(buffer, 0, BUFFER_BYTES);
  m3net_monitor_init(&monitor, &recognizer, &live, buffer, BUFFER_BYTES, sizeof(arena));
  m3net_monitor_greet(&monitor);
  return true;
}

static int serve(const char* microphone) {
  if (microphone != NULL && (host_microphone = fopen(microphone, "rb")) == NULL) {
    return fail("the file for the microphone cannot be read");
  }
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  (void)setjmp(host_restart);
  if (!start()) return fail("front end or detector refuse their settings");
  for (;;) {
    m3net_board_watchdog_feed();
    m3net_monitor_work(&monitor);
  }
}

// --- battering -------------------------------------------------------------------------------

static uint64_t random_state;

static uint32_t random_below(uint32_t limit) { return host_random_below(&random_state, limit); }

static char answer[4096];
static size_t answer_length;

// Keeps at least the newest half of the output.
static void keep(const char* bytes, size_t count) {
  for (; count > 0u; --count, ++bytes) {
    if (answer_length + 1u == sizeof(answer)) {
      memmove(answer, answer + sizeof(answer) / 2u, sizeof(answer) / 2u - 1u);
      answer_length = sizeof(answer) / 2u - 1u;
    }
    answer[answer_length++] = *bytes;
  }
  answer[answer_length] = '\0';
}

static void give(const void* bytes, size_t count) {
  m3net_monitor_receive(&monitor, bytes, count);
  while (m3net_monitor_poll(&monitor)) {
  }
}

static void give_text(const char* text) { give(text, strlen(text)); }

static void let_time_pass(void) {
  host_advance(2u * M3NET_MONITOR_BLOCK_TIMEOUT_US);
  (void)m3net_monitor_poll(&monitor);
}

static bool answers(const char* text, const char* expected) {
  answer_length = 0;
  answer[0] = '\0';
  give_text(text);
  return strstr(answer, expected) != NULL;
}

// Whether the monitor still works, whatever it received before.
static bool alive(void) {
  let_time_pass();
  give_text("%\n");  // ends whatever line was open, in both protocols
  let_time_pass();
  if (!answers("stream off\n", "m3net ok stream") ||
      !answers("version\n", "m3net ok version protocol=1") ||
      !answers("load features\n", "m3net ok load")) {
    return false;
  }
  uint8_t block[M3NET_MONITOR_BLOCK_BYTES];
  memset(block, 1, sizeof(block));
  for (uint32_t at = 0; at < M3NET_MODEL_INPUT_BYTES; at += sizeof(block)) {
    const uint32_t left = M3NET_MODEL_INPUT_BYTES - at;
    const uint32_t bytes = left < sizeof(block) ? left : (uint32_t)sizeof(block);
    char header[64];
    snprintf(header, sizeof(header), "block %u %u 0x%08x\n", at, bytes,
             m3net_crc32(0, block, bytes));
    give_text(header);
    give(block, bytes);
  }
  char expected[32];
  // A sum of ones over 64, in each class; the first is the best of equals.
  snprintf(expected, sizeof(expected), "label=0 out=%02x",
           (M3NET_MODEL_INPUT_BYTES + M3NET_MODEL_CLASS_COUNT - 1) / M3NET_MODEL_CLASS_COUNT / 64);
  return answers("infer\n", expected) && answers("name%", "m-name-dut-[host]\r\nm-ready\r\n");
}

static const char* const seeds[] = {
    "version",
    "info",
    "memory",
    "stat",
    "load features",
    "load pcm 16000",
    "infer 3",
    "results",
    "profile",
    "stream host columns",
    "stream off",
    "threshold 1 2",
    "threshold",
    "save",
    "save clear",
    "model",
    "model begin 600",
    "model commit",
    "model abort",
    "model return",
    "record 100",
    "read 0 256",
    "baud 9600",
    "mode energy",
    "help",
    "reset",
    "block 0 256 0x12345678",
    "name%",
    "timestamp%",
    "profile%",
    "help%",
    "results%",
    "infer 2 1%",
    "db load 1960%",
    "db 00ff7f80%",
    "db print%",
    "db load 32000%",
    "db%",
    "%",
    "infer -1 -1%",
    "db load%",
    "stream mic scores audio",
};
#define SEED_COUNT (sizeof(seeds) / sizeof(seeds[0]))

static const char* const numbers[] = {
    "0",           "1",
    "-1",          "255",
    "256",         "257",
    "1960",        "32000",
    "32001",       "65536",
    "2147483648",  "4294967295",
    "4294967296",  "99999999999999999999",
    "0x",          "0xffffffff",
    "0x100000000", "1e9",
};
#define NUMBER_COUNT (sizeof(numbers) / sizeof(numbers[0]))

static size_t append(char* line, size_t length, size_t capacity, const char* text) {
  while (*text != '\0' && length < capacity) line[length++] = *text++;
  return length;
}

// A block of noise; now and then with a wrong place, a wrong checksum or too few bytes.
static void give_block(uint32_t offset, uint32_t count) {
  uint8_t bytes[M3NET_MONITOR_BLOCK_BYTES];
  for (uint32_t i = 0; i < count; ++i) bytes[i] = (uint8_t)random_below(256);
  char header[64];
  const uint32_t wrong = random_below(40);
  snprintf(header, sizeof(header), "block %u %u 0x%08x\n",
           wrong == 0u ? random_below(40000) : offset, count,
           m3net_crc32(0, bytes, count) ^ (wrong == 1u));
  give_text(header);
  give(bytes, wrong == 2u ? random_below(count) : count);
}

static void give_blocks(uint32_t bytes) {
  for (uint32_t at = 0; at < bytes; at += M3NET_MONITOR_BLOCK_BYTES) {
    const uint32_t left = bytes - at;
    give_block(monitor.next, left < M3NET_MONITOR_BLOCK_BYTES ? left : M3NET_MONITOR_BLOCK_BYTES);
  }
}

static void give_benchmark_input(uint32_t bytes) {
  char command[96];
  snprintf(command, sizeof(command), "db load %u%%", bytes);
  give_text(command);
  for (uint32_t at = 0; at < bytes; at += 31u) {
    size_t length = (size_t)snprintf(command, sizeof(command), "db ");
    for (uint32_t i = 0; i < 31u; ++i) {
      length += (size_t)snprintf(&command[length], 3, "%02x", random_below(256));
    }
    command[length] = '\0';
    if (random_below(200) == 0u) command[random_below((uint32_t)length)] = 'z';
    give_text(command);
    give_text("%");
  }
}

// A long and nearly well-formed exchange, which single lines hardly ever amount to.
static void exchange(void) {
  switch (random_below(6)) {
    case 0:
      give_text("load features\n");
      give_blocks(M3NET_MODEL_INPUT_BYTES + 2u * random_below(2));
      give_text("infer 2\n");
      break;
    case 1:
      give_text("load pcm 16001\n");
      give_blocks(32002);
      give_text("infer\n");
      break;
    case 2:
      give_text("threshold 0 20000 1\nstream host columns scores\n");
      give_blocks(640u * random_below(120));
      break;
    case 3:
      give_text("baud 921600\nstream mic audio columns scores\n");
      for (uint32_t left = random_below(10); left > 0u; --left) {
        host_advance(random_below(400000));
        while (m3net_monitor_poll(&monitor)) {
        }
      }
      break;
    case 4:
      give_benchmark_input(M3NET_MODEL_INPUT_BYTES);
      give_text("infer 2 1%");
      break;
    default:
      give_benchmark_input(32000);
      give_text("infer 1 0%");
  }
}

static void random_block(void) {
  give_block(random_below(2) ? monitor.next : random_below(40000),
             2u * (1u + random_below(M3NET_MONITOR_BLOCK_BYTES / 2u)));
}

// One malformed line, often close to a good one.
static void batter_once(void) {
  char line[512];
  size_t length = 0;
  const uint32_t kind = random_below(8);
  if (kind == 0u) {  // noise
    for (uint32_t left = random_below(sizeof(line)); left > 0u; --left) {
      line[length++] = (char)random_below(256);
    }
  } else if (kind == 1u) {
    random_block();
    return;
  } else {
    length = append(line, length, sizeof(line), seeds[random_below(SEED_COUNT)]);
    if (kind == 2u) {  // other numbers
      while (length > 0u && line[length - 1u] != ' ') --length;
      for (uint32_t left = random_below(4); left > 0u; --left) {
        length = append(line, length, sizeof(line) - 1u, numbers[random_below(NUMBER_COUNT)]);
        line[length++] = ' ';
      }
    }
    if (kind == 3u) {  // far too long
      const size_t piece = length;
      for (uint32_t left = random_below(40); left > 0u && length + piece < sizeof(line); --left) {
        memcpy(&line[length], line, piece);
        length += piece;
      }
    }
    for (uint32_t left = kind == 4u ? 1u + random_below(6) : 0u; left > 0u && length > 0u; --left) {
      line[random_below((uint32_t)length)] = (char)random_below(256);
    }
    if (kind == 5u) length = random_below((uint32_t)length + 1u);  // cut off
  }
  give(line, length);
  static const char* const ends[] = {"\n", "\r\n", "%", "", "%\r\n", " \n", "\n\n"};
  give_text(ends[random_below(sizeof(ends) / sizeof(ends[0]))]);
  if (random_below(16) == 0u) let_time_pass();
}

static int batter(uint32_t count, uint64_t seed) {
  random_state = seed * 2u + 1u;
  host_sink = keep;
  host_microphone = tmpfile();
  static uint32_t done, restarts;
  if (setjmp(host_restart) != 0) ++restarts;
  if (!start()) return fail("front end or detector refuse their settings");
  while (done < count) {
    ++done;
    if (done % LINES_BETWEEN_EXCHANGES == 0u) exchange();
    host_storage_worn = random_below(8) == 0u;
    batter_once();
    if (done % LINES_BETWEEN_CHECKS == 0u && !alive()) {
      fprintf(stderr, "after %u lines: %s\n", done, answer);
      return fail("the monitor answers no more");
    }
  }
  if (!alive()) return fail("the monitor answers no more");
  printf("%u lines, %u restarts, answering\n", done, restarts);
  fclose(host_microphone);
  free(buffer);
  return 0;
}

int main(int count, char** words) {
  const char* command = count > 1 ? words[1] : "";
  host_storage_blank();
  if (strcmp(command, "serve") == 0 && count <= 3) return serve(count == 3 ? words[2] : NULL);
  if (strcmp(command, "batter") == 0 && count == 4) {
    return batter((uint32_t)strtoul(words[2], NULL, 10), strtoull(words[3], NULL, 10));
  }
  return fail("say serve [FILE], or batter COUNT SEED");
}
