// SPDX-License-Identifier: Apache-2.0
// Runs the job image in the board's memory, if there is one: every clip goes through front end and
// model, and the console prints the scores and the cost. Otherwise the monitor waits for commands.

#include <string.h>

#include "console.h"
#include "crc32.h"
#include "eembc.h"
#include "job.h"
#include "live.h"
#include "model_slots.h"
#include "monitor.h"
#include "platform.h"
#include "recognizer.h"

// Size of the tensor arena; by default the size that the exporter expects.
#ifndef M3NET_ARENA_BYTES
#define M3NET_ARENA_BYTES M3NET_MODEL_ARENA_BYTES
#endif

// The monitor's buffer holds a second of sound, or a window if that is longer; if many boards have
// less memory than that, it holds only features.
#define MAX_PCM_BYTES 65536
#define SECOND_BYTES (2 * M3NET_FRONTEND_SAMPLE_RATE_HZ)
#define PCM_BYTES \
  (2 * M3NET_WINDOW_SAMPLES > SECOND_BYTES ? 2 * M3NET_WINDOW_SAMPLES : SECOND_BYTES)
#define LEAST_BYTES (PCM_BYTES <= MAX_PCM_BYTES ? PCM_BYTES : 2)
#define BUFFER_BYTES (M3NET_MODEL_INPUT_BYTES > LEAST_BYTES ? M3NET_MODEL_INPUT_BYTES : LEAST_BYTES)

_Alignas(M3NET_MODEL_ALIGNMENT) static M3NET_MODEL_ARENA(M3NET_ARENA_BYTES) arena;
static m3net_recognizer recognizer;
static m3net_live live;
static m3net_monitor monitor;
_Alignas(4) static uint8_t buffer[BUFFER_BYTES];

// Half of it is longer than one run of any model that is fast enough for live detection; STM32
// chips count to 32 s. The watchdog starts after the job, because a finished job halts.
#define WATCHDOG_MS 30000u

static uint32_t cost_since(uint32_t start) {
  return (m3net_board_counter() - start) * m3net_board_info.counter_scale;
}

static void print_boot(void) {
  m3net_console_begin("boot board=");
  m3net_console_text(m3net_board_info.name);
  m3net_console_text(" model=");
  m3net_console_text(m3net_model_name());
  m3net_console_text(" sha256=");
  m3net_board_write(m3net_model_sha256(), 16);
  m3net_console_field("frames", M3NET_RING_INPUT_FRAMES);
  m3net_console_field("bins", M3NET_RING_INPUT_BINS);
  m3net_console_field("classes", M3NET_MODEL_CLASS_COUNT);
  m3net_console_text(" counter=");
  m3net_console_text(m3net_board_info.counter_unit);
  m3net_console_text(" reset=");
  m3net_console_text(m3net_reset_reason_name(m3net_board_reset_reason()));
  m3net_console_end();
}

static void print_memory(void) {
  m3net_console_begin("memory");
  m3net_console_field("arena_used", (uint32_t)m3net_model_arena_used(recognizer.model));
  m3net_console_field("arena_size", sizeof(arena.bytes));
  m3net_console_field("stack_used", (uint32_t)m3net_platform_stack_used());
  m3net_console_field("stack_size", (uint32_t)m3net_platform_stack_size());
  m3net_console_field("frontend_bytes", (uint32_t)m3net_recognizer_frontend_bytes());
  m3net_console_end();
}

static void print_runtime_message(void) {
  if (m3net_model_message()[0] != '\0') {
    m3net_console_text("; TFLM says: ");
    m3net_console_text(m3net_model_message());
  }
}

static void fail_init(m3net_status status) {
  m3net_console_error_begin(m3net_status_name(status));
  if (status == M3NET_ERROR_ARENA) {
    // If the build asked for less than the exporter's figure: that figure. Otherwise half as much
    // again, or more if the runtime was short of more.
    const bool below_export = sizeof(arena.bytes) < M3NET_MODEL_ARENA_BYTES;
    const size_t missing = m3net_model_arena_missing();
    const size_t more = missing > sizeof(arena.bytes) / 2u ? missing : sizeof(arena.bytes) / 2u;
    const size_t needed =
        below_export ? (size_t)M3NET_MODEL_ARENA_BYTES : sizeof(arena.bytes) + more;
    m3net_console_text("the tensor arena of ");
    m3net_console_u32(sizeof(arena.bytes));
    m3net_console_text(" bytes is too small: build with -DM3NET_ARENA_BYTES=");
    m3net_console_u32((uint32_t)((needed + 15u) & ~(size_t)15u));
    m3net_console_text(below_export ? "" : " and read arena_used");
  } else if (status == M3NET_ERROR_OPERATOR) {
    m3net_console_text(
        "the model has an operator that M3NET_MODEL_OPERATORS lacks: export it again");
  } else if (status == M3NET_ERROR_CRC) {
    m3net_console_text(
        "the model's bytes have changed since the export: write the firmware to the board again");
  } else {
    m3net_console_text("the firmware cannot start: build it from one complete export");
  }
  print_runtime_message();
  m3net_console_end();
  m3net_platform_halt();
}

static void print_job_problem(const m3net_job_problem* problem) {
  m3net_console_error_begin(problem->code);
  m3net_console_text(problem->text);
  m3net_console_text(" (found ");
  m3net_console_u32(problem->actual);
  m3net_console_text(", expected ");
  m3net_console_u32(problem->expected);
  m3net_console_text(")");
  m3net_console_end();
}

static void load_clip(const m3net_job* job, const uint8_t* clip) {
  if (job->kind == M3NET_JOB_PCM) {
    m3net_recognizer_load_window(&recognizer);
  } else {
    m3net_recognizer_load_features(&recognizer, (const int8_t*)clip);
  }
}

static void fail_run(m3net_status status) {
  m3net_console_error_begin(m3net_status_name(status));
  m3net_console_text("the model failed on a clip: export it again");
  print_runtime_message();
  m3net_console_end();
  m3net_platform_halt();
}

// Returns the CRC of all outputs up to this clip, given the CRC of the outputs before it.
static uint32_t run_clip(const m3net_job* job, uint32_t index, uint32_t crc) {
  const uint8_t* clip = job->payload + (size_t)index * job->clip_bytes;
  uint32_t frames = M3NET_FRONTEND_FRAMES;
  uint32_t frontend_cost = 0;
  if (job->kind == M3NET_JOB_PCM) {
    m3net_recognizer_reset(&recognizer);
    const uint32_t start = m3net_board_counter();
    const int16_t* samples = (const int16_t*)(const void*)clip;
    frames = m3net_recognizer_hear(&recognizer, samples, job->clip_bytes / 2u);
    frontend_cost = cost_since(start);
  }
  load_clip(job, clip);
  const uint32_t start = m3net_board_counter();
  const m3net_status status = m3net_recognizer_run(&recognizer);
  const uint32_t model_cost = cost_since(start);
  if (status != M3NET_OK) fail_run(status);
  const int8_t* scores = m3net_model_output(recognizer.model);
  crc = m3net_crc32(crc, scores, M3NET_MODEL_CLASS_COUNT);
  m3net_console_begin("clip ");
  m3net_console_u32(index);
  m3net_console_field("label", m3net_recognizer_label(&recognizer));
  m3net_console_text(" out=");
  m3net_console_hex(scores, M3NET_MODEL_CLASS_COUNT);
  if ((job->flags & M3NET_JOB_FLAG_FEATURES) != 0u) {
    load_clip(job, clip);  // again: the model may have overwritten its input
    m3net_console_text(" feat=");
    m3net_console_hex(m3net_model_input(recognizer.model), M3NET_MODEL_INPUT_BYTES);
  }
  if ((job->flags & M3NET_JOB_FLAG_INSTRUCTIONS) != 0u) {
    m3net_console_field("frontend_instr", frontend_cost);
    m3net_console_field("model_instr", model_cost);
  }
  m3net_console_field("frames", frames);
  m3net_console_end();
  return crc;
}

static void finish_job(uint32_t clips, uint32_t crc) {
  print_memory();
  m3net_console_begin("done");
  m3net_console_field("clips", clips);
  m3net_console_text(" crc=");
  m3net_console_hex32(crc);
  m3net_console_end();
  m3net_platform_halt();
}

static void run_clips(const m3net_job* job) {
  uint32_t crc = 0;
  for (uint32_t index = 0; index < job->clip_count; ++index) {
    m3net_board_watchdog_feed();  // a debugger or boot loader may have started the watchdog
    crc = run_clip(job, index, crc);
  }
  finish_job(job->clip_count, crc);
}

static void print_live(const m3net_live_result* result) {
  m3net_console_begin("column values=");
  m3net_console_hex(result->column, sizeof(result->column));
  m3net_console_end();
  if (result->scores == NULL) return;
  m3net_console_begin("scores out=");
  m3net_console_hex(m3net_model_output(recognizer.model), M3NET_MODEL_CLASS_COUNT);
  m3net_console_field("model_instr", result->run_steps * m3net_board_info.counter_scale);
  m3net_console_end();
  if (!result->has_event) return;
  m3net_console_begin("event");
  m3net_console_field("column", result->event.column);
  m3net_console_field("label", result->event.label);
  m3net_console_field("score", result->event.score);
  m3net_console_end();
}

// Live detection hears a recording; each column, run and event is printed.
static void run_live(const m3net_job* job) {
  static m3net_live_result result;
  m3net_status status = m3net_live_init(&live, &recognizer);
  if (status == M3NET_OK) status = m3net_live_start(&live, false);
  if (status != M3NET_OK) fail_init(status);
  const int16_t* samples = (const int16_t*)(const void*)job->payload;
  for (uint32_t left = job->clip_bytes / sizeof(*samples); left >= M3NET_FRONTEND_HOP_SAMPLES;
       left -= M3NET_FRONTEND_HOP_SAMPLES, samples += M3NET_FRONTEND_HOP_SAMPLES) {
    m3net_board_watchdog_feed();
    (void)m3net_live_hear(&live, samples);
    (void)m3net_live_step(&live, &result);
    if (result.status != M3NET_OK) fail_run(result.status);
    if (result.has_column) print_live(&result);
  }
  finish_job(0, 0);
}

// Runs the job image, if there is one. Cleared memory, as after power-up under an emulator, holds
// none and is skipped without a message; other memory without the magic is reported, because it may
// be an image at the wrong address.
static void run_job_image(void) {
  const uint8_t* image = m3net_board_info.job;
  static const uint8_t cleared[4] = {0};
  if (m3net_board_info.job_capacity_bytes < M3NET_JOB_HEADER_BYTES ||
      memcmp(image, cleared, sizeof(cleared)) == 0) {
    return;
  }
  m3net_job job;
  m3net_job_problem problem;
  const m3net_status status =
      m3net_job_read(image, m3net_board_info.job_capacity_bytes, M3NET_MODEL_INPUT_BYTES,
                     2u * M3NET_WINDOW_SAMPLES, &job, &problem);
  if (status != M3NET_OK) {
    print_job_problem(&problem);
    if (status != M3NET_ERROR_NO_JOB) m3net_platform_halt();
  } else if (job.kind == M3NET_JOB_LIVE) {
    run_live(&job);
  } else if (job.kind != M3NET_JOB_STREAM) {
    run_clips(&job);
  }
}

int main(void) {
  m3net_board_init();
  (void)m3net_eembc_start_console();
  m3net_model_slots_start();
  print_boot();
  m3net_status status = m3net_recognizer_init(&recognizer, arena.bytes, sizeof(arena.bytes));
  if (status != M3NET_OK) fail_init(status);

  run_job_image();

  status = m3net_live_init(&live, &recognizer);
  if (status != M3NET_OK) fail_init(status);
  m3net_monitor_init(&monitor, &recognizer, &live, buffer, sizeof(buffer), sizeof(arena.bytes));
  m3net_monitor_greet(&monitor);
  m3net_board_watchdog_start(WATCHDOG_MS);
  for (;;) {
    m3net_board_watchdog_feed();
    m3net_monitor_work(&monitor);
  }
}
