// SPDX-License-Identifier: Apache-2.0
// What ESPHome's headers use of ESP-IDF and FreeRTOS, declared: enough to check a source for ESP32.
#pragma once

#include <cstddef>
#include <cstdint>

using BaseType_t = int;
using UBaseType_t = unsigned;
using TickType_t = uint32_t;
using StackType_t = uint8_t;
using esp_err_t = int;
using SemaphoreHandle_t = struct Semaphore*;
using TaskHandle_t = struct Task*;
using TaskFunction_t = void (*)(void*);

struct StaticTask_t {
  int opaque;
};

#define IRAM_ATTR
#define MALLOC_CAP_8BIT 1
#define MALLOC_CAP_INTERNAL 2
#define MALLOC_CAP_SPIRAM 4
#define pdTRUE 1
#define pdFALSE 0
#define portMAX_DELAY UINT32_MAX
#define portTICK_PERIOD_MS 1

extern "C" {
SemaphoreHandle_t xSemaphoreCreateMutex();
BaseType_t xSemaphoreTake(SemaphoreHandle_t semaphore, TickType_t ticks);
BaseType_t xSemaphoreGive(SemaphoreHandle_t semaphore);
uint32_t ulTaskNotifyTake(BaseType_t clears, TickType_t ticks);
BaseType_t xTaskNotifyGive(TaskHandle_t task);
void vTaskDelay(TickType_t ticks);
void vPortYield();
BaseType_t xPortInIsrContext();
esp_err_t esp_task_wdt_reset();
uint32_t esp_cpu_get_cycle_count();
size_t heap_caps_get_free_size(uint32_t kinds);
size_t heap_caps_get_largest_free_block(uint32_t kinds);
void* heap_caps_malloc(size_t size, uint32_t kinds);
void* heap_caps_calloc(size_t count, size_t size, uint32_t kinds);
void* heap_caps_realloc(void* block, size_t size, uint32_t kinds);
void heap_caps_free(void* block);
}
