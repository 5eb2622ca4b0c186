// SPDX-License-Identifier: Apache-2.0
// What the files of the monitor share; private to monitor_*.c. Each file calls only files that are
// declared below it here: bytes become lines, lines become commands, and commands use the rest.
#ifndef M3NET_CORE_MONITOR_PARTS_H_
#define M3NET_CORE_MONITOR_PARTS_H_

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "monitor.h"
#include "status.h"

#define M3NET_MONITOR_HOP_BYTES (2u * M3NET_FRONTEND_HOP_SAMPLES)

/// Most words of a line that are kept.
#define M3NET_MONITOR_MAX_WORDS 6u

/// First word of a block's header.
#define M3NET_MONITOR_BLOCK_WORD "block"

/// The words of a line.
typedef struct {
  char* word[M3NET_MONITOR_MAX_WORDS];
  uint32_t count;  ///< M3NET_MONITOR_MAX_WORDS + 1 if there were more.
} m3net_monitor_words;

// --- monitor_commands.c: the table of commands -----------------------------------------------

/// Carries out the line that was received.
void m3net_monitor_run_line(m3net_monitor* monitor);

// --- monitor_recording.c: sound from the microphone ------------------------------------------

/// The command `record`.
void m3net_monitor_record(m3net_monitor* monitor, const m3net_monitor_words* words);

/// The command `read`.
void m3net_monitor_read(m3net_monitor* monitor, const m3net_monitor_words* words);

// --- monitor_inference.c: runs of the model on the input -------------------------------------

/// The command `infer`.
void m3net_monitor_infer(m3net_monitor* monitor, const m3net_monitor_words* words);

/// The command `results`.
void m3net_monitor_results(m3net_monitor* monitor, const m3net_monitor_words* words);

/// The command `profile`.
void m3net_monitor_profile(m3net_monitor* monitor, const m3net_monitor_words* words);

// --- monitor_input.c: blocks of features and samples -----------------------------------------

/// The command `load`.
void m3net_monitor_load(m3net_monitor* monitor, const m3net_monitor_words* words);

/// The command `block`: the bytes that its header announces follow.
void m3net_monitor_block(m3net_monitor* monitor, const m3net_monitor_words* words);

/// Drops everything until no byte has come for a while, then answers by an error.
void m3net_monitor_drain(m3net_monitor* monitor, const char* code, const char* text);

/// Drains after the damaged header of a block, whose bytes must not be taken for commands.
void m3net_monitor_drain_block(m3net_monitor* monitor);

/// Takes a block that was received in full, whatever its checksum.
void m3net_monitor_take_block(m3net_monitor* monitor);

/// Forgets the input. Call it before anything else writes into the buffer, which both protocols
/// and recordings share.
void m3net_monitor_forget_input(m3net_monitor* monitor);

/// Whether an input was loaded in full.
bool m3net_monitor_has_input(const m3net_monitor* monitor);

// --- monitor_streaming.c: live detection -----------------------------------------------------

/// The command `stream`.
void m3net_monitor_stream(m3net_monitor* monitor, const m3net_monitor_words* words);

/// The command `threshold`.
void m3net_monitor_threshold(m3net_monitor* monitor, const m3net_monitor_words* words);

/// The command `calibrate`, of exports of normal sounds: what the stream had was normal, so the
/// threshold rises above its highest score.
void m3net_monitor_calibrate(m3net_monitor* monitor, const m3net_monitor_words* words);

/// The commands `save` and `save clear`.
void m3net_monitor_save(m3net_monitor* monitor, const m3net_monitor_words* words);

/// Processes the next hop of the stream and reports it; returns whether one was waiting.
bool m3net_monitor_work_on_hop(m3net_monitor* monitor);

// --- monitor_enrolment.c: words that the user enrols -----------------------------------------

/// The command `enrol`.
void m3net_monitor_enrol(m3net_monitor* monitor, const m3net_monitor_words* words);

/// The command `forget`.
void m3net_monitor_forget(m3net_monitor* monitor, const m3net_monitor_words* words);

/// The command `list`.
void m3net_monitor_list(m3net_monitor* monitor, const m3net_monitor_words* words);

// --- monitor_model.c: another model in the flash ----------------------------------------------

/// The commands `model …`.
void m3net_monitor_model(m3net_monitor* monitor, const m3net_monitor_words* words);

/// Takes the next bytes of a model, or answers why not; returns whether it took them.
bool m3net_monitor_take_model(m3net_monitor* monitor);

// --- monitor_text.c: words in, answers out ---------------------------------------------------

/// Splits a line at spaces and tabs; changes it.
m3net_monitor_words m3net_monitor_split(char* line);

/// Whether a word is `text`.
bool m3net_monitor_is(const char* word, const char* text);

/// Reads a decimal number, or a hexadecimal one after 0x.
///
/// @return M3NET_OK, or M3NET_ERROR_ARGUMENT if it is not a number of 32 bits.
m3net_status m3net_monitor_number(const char* text, uint32_t* value);

/// Starts one of an answer's lines, of which there is one per class or layer: "m3net <word>". Feeds
/// the watchdog, because at 1200 baud all of them may take longer than its time-out.
void m3net_monitor_begin_item(const char* word);

/// Starts the last line of an answer: "m3net ok <name>".
void m3net_monitor_ok(const char* name);

/// Answers by an error and counts it.
void m3net_monitor_error(m3net_monitor* monitor, const char* code, const char* text);

/// Answers that an argument is not a number, or out of range.
void m3net_monitor_bad_number(m3net_monitor* monitor);

/// Writes " <name>=<value>".
void m3net_monitor_text_field(const char* name, const char* value);

/// Writes " <name>=" and each byte as two hexadecimal digits.
void m3net_monitor_hex_field(const char* name, const void* bytes, size_t count);

/// Writes " crc=" and the CRC-32 of the bytes.
void m3net_monitor_crc_field(const void* bytes, size_t count);

#endif  // M3NET_CORE_MONITOR_PARTS_H_
