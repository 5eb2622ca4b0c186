// SPDX-License-Identifier: Apache-2.0
// Models in the board's flash, which replace the firmware's own without a new firmware. Two slots
// take an image each (m3net_tf.export.model_image writes it). An update goes into the slot that is
// not in use. Once the image is whole and passes its test, one small write makes it the model of
// the next start. A power cut at any moment leaves the former model or the new one.
//
// CRC-32 finds damage, not attackers: whoever can write an image decides what the network reads.
// An application that takes images from a network checks their signature first.
#ifndef M3NET_CORE_MODEL_SLOTS_H_
#define M3NET_CORE_MODEL_SLOTS_H_

#include <stdbool.h>
#include <stdint.h>

#include "inference.h"
#include "model_data.h"
#include "status.h"

#ifdef __cplusplus
extern "C" {
#endif

#define M3NET_MODEL_SLOTS 2u

#define M3NET_MODEL_STRUCTURE_BYTES 32u

/// The firmware's own model, beside the numbers of the slots.
#define M3NET_MODEL_OWN M3NET_MODEL_SLOTS

/// An image starts with this. Then come two 16-bit numbers for each class, which are its threshold
/// and its release, the offset of each part from the image's start, the texts (name, SHA-256,
/// classes; a zero ends each), and the parts.
typedef struct {
  uint32_t format;                                 ///< M3NET_MODEL_IMAGE_FORMAT.
  uint32_t crc;                                    ///< CRC-32 of all that follows, up to `bytes`.
  uint32_t bytes;                                  ///< Of the whole image.
  uint32_t layout;                                 ///< Of the weights, as m3net_model_layout().
  uint8_t structure[M3NET_MODEL_STRUCTURE_BYTES];  ///< SHA-256 of the code that reads the parts.
  uint32_t test_crc;                               ///< CRC-32 of the scores of the test's input.
  uint32_t part_count;                             ///< Number of the parts.
  uint32_t text_bytes;                             ///< Of the texts.
} m3net_model_image;

/// "M3D1": another layout of images gets another number.
#define M3NET_MODEL_IMAGE_FORMAT 0x3144334Du

#if M3NET_CAN_UPDATE

/// The structure of the firmware's images.
const uint8_t* m3net_model_slots_structure(void);

/// Most bytes of an image.
uint32_t m3net_model_slots_room(void);

/// Finds the model to use: the newest whole one of those that this firmware took, else its own.
/// Call it once at start, before m3net_recognizer_init().
void m3net_model_slots_start(void);

/// What runs: a slot, or M3NET_MODEL_OWN.
uint32_t m3net_model_slots_active(void);

/// What the next start takes.
uint32_t m3net_model_slots_next(void);

/// What m3net_model_slots_return() would choose; M3NET_MODEL_OWN if the other slot is empty.
uint32_t m3net_model_slots_former(void);

/// Starts an update in the slot that is not in use, which forgets its model.
///
/// @param bytes  of the image.
/// @return M3NET_OK, M3NET_ERROR_FULL (more than m3net_model_slots_room()) or
///         M3NET_ERROR_HARDWARE.
m3net_status m3net_model_slots_begin(uint32_t bytes);

/// Writes the next bytes of the image. May erase a sector first (m3net_board_storage_erase()).
///
/// @param count  a multiple of the storage's word, except for the last bytes.
/// @return M3NET_OK, M3NET_ERROR_ARGUMENT (they do not follow, or no update runs) or
///         M3NET_ERROR_HARDWARE.
m3net_status m3net_model_slots_write(uint32_t offset, const uint8_t* bytes, uint32_t count);

/// Ends an update: checks the image, runs its test, and makes it the model of the next start. What
/// runs stays the same until then. The test takes the model's input and ends its stream.
///
/// @return M3NET_OK, M3NET_ERROR_ARGUMENT (no update runs, or bytes are missing),
///         M3NET_ERROR_CRC (damaged), M3NET_ERROR_MODEL (no image of this format),
///         M3NET_ERROR_CONFIG (for another firmware: another structure or layout),
///         M3NET_ERROR_INVOKE (the test gave other scores) or M3NET_ERROR_HARDWARE. If it fails,
///         the model of the next start stays.
m3net_status m3net_model_slots_commit(m3net_model* model);

/// Makes the former model the model of the next start.
///
/// @return M3NET_OK, M3NET_ERROR_ARGUMENT (the firmware's own model runs, and no other is whole) or
///         M3NET_ERROR_HARDWARE; then nothing has changed.
m3net_status m3net_model_slots_return(void);

#else

static inline void m3net_model_slots_start(void) {}

#endif

#ifdef __cplusplus
}
#endif

#endif  // M3NET_CORE_MODEL_SLOTS_H_
